import type { Range } from '../extents/extent-list.js';

/** Smallest unit: what QEMU's dirty bitmaps have as well. Bytes. */
const SMALLEST_UNIT = 1 << 16;
/** Bound on memory: 16 MiB of bits, for disks up to 8 TiB in the smallest unit; larger ones have larger units. */
const MOST_UNITS = 1 << 27;

/** Which units of a disk changed: one bit each, markable in any order. */
export class ChangedUnits {
  /** Bytes; a power of two. */
  readonly unit: number;
  readonly #bits: Uint8Array;

  /** @param size of the disk, in bytes. */
  constructor(size: number, mostUnits = MOST_UNITS) {
    let unit = SMALLEST_UNIT;
    while (size / unit > mostUnits) unit *= 2;
    this.unit = unit;
    this.#bits = new Uint8Array(Math.ceil(size / unit / 8));
  }

  /** Marks every unit that the range touches; it must lie inside the disk. */
  mark(offset: number, length: number): void {
    const last = Math.floor((offset + length - 1) / this.unit);
    for (let index = Math.floor(offset / this.unit); index <= last; index++) {
      this.#bits[index >> 3]! |= 1 << (index & 7);
    }
  }

  #isMarked(index: number): boolean {
    return (this.#bits[index >> 3]! & (1 << (index & 7))) !== 0;
  }

  /** The marked parts of a range, joined where they touch. */
  *markedWithin(offset: number, length: number): Generator<Range, void, undefined> {
    const end = offset + length;
    let start: number | undefined;
    for (let at = offset; at < end; ) {
      const index = Math.floor(at / this.unit);
      const isMarked = this.#isMarked(index);
      if (isMarked) start ??= at;
      else if (start !== undefined) {
        yield { offset: start, length: at - start };
        start = undefined;
      }
      at = (index + 1) * this.unit;
    }
    if (start !== undefined) yield { offset: start, length: end - start };
  }
}
