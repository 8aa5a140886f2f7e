import { NewestFirst } from './newest-first.js';
import { RadixOrder } from './radix-order.js';
import type { SegmentTable } from './segment-table.js';

/** Longest window: places in it are 32-bit numbers. Bytes. */
export const MAX_WINDOW = 2 ** 31;

/**
 * One stretch of the disk with what all archives of a chain have there, small enough for the processor's cache.
 *
 *   pieces, as they came      [newest ]      [older    ]   [old]  [older]
 *   by start, newest on top   [old[newest ]older]..
 */
export class OverlayWindow {
  start = 0;
  end = 0;
  readonly #starts: Uint32Array;
  readonly #ends: Uint32Array;
  readonly #frames: Uint32Array;
  readonly #withins: Uint32Array;
  readonly #order: RadixOrder;
  readonly #begun: NewestFirst;
  #count = 0;

  /** @param capacity most pieces. */
  constructor(capacity: number) {
    this.#starts = new Uint32Array(capacity);
    this.#ends = new Uint32Array(capacity);
    this.#frames = new Uint32Array(capacity);
    this.#withins = new Uint32Array(capacity);
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
   * Adds a piece; `from` and `to` count from the window's start. The archives come one after another, the oldest first: of two
   * pieces that overlap, the later one is on top.
   */
  add(from: number, to: number, frame: number, within: number): void {
    const piece = this.#count++;
    this.#starts[piece] = from;
    this.#ends[piece] = to;
    this.#frames[piece] = frame;
    this.#withins[piece] = within;
  }

  /** Appends to `result` what is on top, from the window's start to its end. */
  flatten(result: SegmentTable): void {
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
    const within = this.#withins[piece]! + from - this.#starts[piece]!;
    result.append(this.start + from, to - from, this.#frames[piece]!, within);
  }
}
