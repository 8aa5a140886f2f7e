import { UsageError } from '../errors.js';

/** What is known of a range of a disk. */
export const ExtentKind = {
  /** Its bytes have to be read: they changed (or, in a full, may be anything). */
  data: 0,
  /** It changed and reads as zeroes: stored as zero, restored as zero. */
  zero: 1,
  /** It did not change since the base: nothing is stored. */
  unchanged: 2,
} as const;

export type ExtentKind = (typeof ExtentKind)[keyof typeof ExtentKind];

/** A half-open byte range of a disk, `[offset, offset + length)`. Bytes. */
export interface Range {
  readonly offset: number;
  readonly length: number;
}

/** A range with a status. Bytes. */
export interface Extent extends Range {
  readonly kind: ExtentKind;
}

/** Entries per block of columns: growing appends a block and copies nothing. */
const BLOCK = 1 << 16;

interface Columns {
  readonly offsets: Float64Array;
  readonly lengths: Float64Array;
  readonly kinds: Uint8Array;
}

/**
 * Extents in ascending order without overlap, 17 bytes each, in columns instead of objects: a disk has
 * millions. Neighbours that touch and have the same kind become one. Gaps are allowed; what they mean is
 * the owner's business (in a change map: unchanged).
 */
export class ExtentList {
  readonly #blocks: Columns[] = [];
  #count = 0;
  #end = 0;
  readonly #totals: [number, number, number] = [0, 0, 0];

  /** Number of extents. */
  get count(): number {
    return this.#count;
  }

  /** First byte after the last extent; 0 when empty. */
  get end(): number {
    return this.#end;
  }

  /** Bytes of all extents of a kind. */
  total(kind: ExtentKind): number {
    return this.#totals[kind];
  }

  /**
   * Appends a range. It must not start before {@link end}.
   * @throws UsageError when it does, or when the range is empty.
   */
  append(offset: number, length: number, kind: ExtentKind): void {
    if (length <= 0) throw new UsageError(`extent at ${offset} has length ${length}`);
    if (offset < this.#end) throw new UsageError(`extent at ${offset} starts before ${this.#end}`);
    this.#totals[kind] += length;
    const touches = this.#count > 0 && offset === this.#end;
    this.#end = offset + length;
    if (touches && this.#extendLast(length, kind)) return;
    const slot = this.#count % BLOCK;
    if (slot === 0) this.#blocks.push(newColumns());
    const block = this.#blocks[this.#blocks.length - 1]!;
    block.offsets[slot] = offset;
    block.lengths[slot] = length;
    block.kinds[slot] = kind;
    this.#count++;
  }

  #extendLast(length: number, kind: ExtentKind): boolean {
    const last = this.#count - 1;
    const block = this.#blocks[Math.floor(last / BLOCK)]!;
    if (block.kinds[last % BLOCK] !== kind) return false;
    block.lengths[last % BLOCK]! += length;
    return true;
  }

  /** Offset of extent `index`. */
  offsetAt(index: number): number {
    return this.#blocks[Math.floor(index / BLOCK)]!.offsets[index % BLOCK]!;
  }

  /** Length of extent `index`. */
  lengthAt(index: number): number {
    return this.#blocks[Math.floor(index / BLOCK)]!.lengths[index % BLOCK]!;
  }

  /** Kind of extent `index`. */
  kindAt(index: number): ExtentKind {
    return this.#blocks[Math.floor(index / BLOCK)]!.kinds[index % BLOCK] as ExtentKind;
  }

  /** Index of the first extent that ends after `offset`; {@link count} when there is none. */
  find(offset: number): number {
    let low = 0;
    let high = this.#count;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if (this.offsetAt(middle) + this.lengthAt(middle) > offset) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** Extent `index` as an object; for tests and printing, not for loops over a disk. */
  at(index: number): Extent {
    return { offset: this.offsetAt(index), length: this.lengthAt(index), kind: this.kindAt(index) };
  }

  *[Symbol.iterator](): Generator<Extent, void, undefined> {
    for (let index = 0; index < this.#count; index++) yield this.at(index);
  }
}

function newColumns(): Columns {
  return {
    offsets: new Float64Array(BLOCK),
    lengths: new Float64Array(BLOCK),
    kinds: new Uint8Array(BLOCK),
  };
}
