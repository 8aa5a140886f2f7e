import { NewestFirst } from './newest-first.js';
import { RadixOrder } from './radix-order.js';
import type { SegmentTable } from './segment-table.js';

/** Longest window: places in it are 32-bit numbers. Bytes. */
export const MAX_WINDOW = 2 ** 31;
/** Most units that a window is painted in: 256 KiB of memory. */
const MAX_UNITS = 1 << 16;
/** To put a piece in order takes as long as to paint about this many units. */
const UNITS_PER_PIECE = 64;
/** A unit in no piece. */
const NOTHING = 0xffffffff;

/**
 * One stretch of the disk with what all archives of a chain have there, small enough for the processor's cache.
 *
 *   pieces, oldest first   0 [           ]    1    [    ]    2 [  ]
 *   flattened                [ 2][0][1  ][0]
 */
export class OverlayWindow {
  start = 0;
  end = 0;
  readonly #starts: Uint32Array;
  readonly #ends: Uint32Array;
  readonly #frames: Uint32Array;
  /** Where in its frame a piece would begin if it began with the window. */
  readonly #bases: Int32Array;
  readonly #order: RadixOrder;
  readonly #begun: NewestFirst;
  readonly #units = new Uint32Array(MAX_UNITS);
  #count = 0;

  /** @param capacity most pieces. */
  constructor(capacity: number) {
    this.#starts = new Uint32Array(capacity);
    this.#ends = new Uint32Array(capacity);
    this.#frames = new Uint32Array(capacity);
    this.#bases = new Int32Array(capacity);
    this.#order = new RadixOrder(capacity);
    this.#begun = new NewestFirst(capacity);
  }

  /** Empties the window; from now on it is bytes `start` to `end` of the disk, at most {@link MAX_WINDOW}. */
  moveTo(start: number, end: number): void {
    this.start = start;
    this.end = end;
    this.#count = 0;
  }

  /**
   * Adds a piece; `from` and `to` count from the window's start. The archives come one after another, the oldest
   * first: of two pieces that overlap, the later one is on top.
   */
  add(from: number, to: number, frame: number, within: number): void {
    const piece = this.#count++;
    this.#starts[piece] = from;
    this.#ends[piece] = to;
    this.#frames[piece] = frame;
    this.#bases[piece] = within - from;
  }

  /** Appends to `result` what is on top, from the window's start to its end. */
  flatten(result: SegmentTable): void {
    const [starts, ends, count] = [this.#starts, this.#ends, this.#count];
    let [places, covered] = [0, 0];
    for (let piece = 0; piece < count; piece++) {
      places |= starts[piece]! | ends[piece]!;
      covered += ends[piece]! - starts[piece]!;
    }
    // The lowest bit that is set in any of them: all are multiples of it.
    const unitBits = 31 - Math.clz32(places & -places);
    const units = (this.end - this.start) >>> unitBits;
    const painted = covered / 2 ** unitBits + units;
    if (units <= MAX_UNITS && painted <= UNITS_PER_PIECE * count) this.#paint(unitBits, units, result);
    else this.#sweep(result);
  }

  /** Paints one piece over another, unit by unit: the fastest where there are many pieces of few units. */
  #paint(unitBits: number, count: number, result: SegmentTable): void {
    const [units, starts, ends] = [this.#units, this.#starts, this.#ends];
    units.fill(NOTHING, 0, count);
    for (let piece = 0; piece < this.#count; piece++) {
      const from = starts[piece]! >>> unitBits;
      const to = ends[piece]! >>> unitBits;
      if (to === from + 1) units[from] = piece;
      else units.fill(piece, from, to);
    }
    for (let at = 0, next = 0; at < count; at = next) {
      const piece = units[at]!;
      for (next = at + 1; next < count && units[next] === piece; ) next++;
      if (piece !== NOTHING) this.#show(piece, (at << unitBits) >>> 0, (next << unitBits) >>> 0, result);
    }
  }

  /** Goes along the places where pieces begin: takes the same time however they lie. */
  #sweep(result: SegmentTable): void {
    const [starts, ends, begun, count] = [this.#starts, this.#ends, this.#begun, this.#count];
    const order = this.#order.of(starts, count);
    let at = 0;
    for (let next = 0; next < count || !begun.isEmpty; ) {
      if (begun.isEmpty) at = starts[order[next]!]!;
      for (; next < count && starts[order[next]!]! <= at; next++) begun.push(order[next]!);
      const top = begun.top;
      let limit = ends[top]!;
      for (; next < count && starts[order[next]!]! < limit; next++) {
        const piece = order[next]!;
        if (piece > top) {
          limit = starts[piece]!;
          break;
        }
        // Hidden altogether when it ends no later.
        if (ends[piece]! > ends[top]!) begun.push(piece);
      }
      this.#show(top, at, limit, result);
      at = limit;
      while (!begun.isEmpty && ends[begun.top]! <= at) begun.pop();
    }
  }

  #show(piece: number, from: number, to: number, result: SegmentTable): void {
    result.append(this.start + from, to - from, this.#frames[piece]!, this.#bases[piece]! + from);
  }
}
