import { UsageError } from '../../errors.js';
import { NBD_STATE_DIRTY } from '../protocol/constants.js';
import type { StatusExtent } from './block-source.js';
import { statusRuns } from './status-runs.js';

/** Which parts of a disk were written to, in units of `granularity` bytes, as QEMU's dirty bitmaps. */
export class DirtyBitmap {
  readonly granularity: number;
  readonly #bits: Uint8Array;

  /**
   * A clean bitmap for a disk of `size` bytes.
   * @throws UsageError when the granularity is not a power of two of at least 512.
   */
  constructor(size: number, granularity: number, bits?: Uint8Array) {
    if (granularity < 512 || !Number.isInteger(Math.log2(granularity))) {
      throw new UsageError(`bitmap granularity ${granularity} is not a power of two of at least 512`);
    }
    this.granularity = granularity;
    this.#bits = bits ?? new Uint8Array(Math.ceil(Math.ceil(size / granularity) / 8));
  }

  /** Marks every unit that the range touches. */
  mark(offset: number, length: number): void {
    if (length === 0) return;
    const last = Math.floor((offset + length - 1) / this.granularity);
    for (let unit = Math.floor(offset / this.granularity); unit <= last; unit++) {
      this.#bits[unit >>> 3]! |= 1 << (unit & 7);
    }
  }

  isDirty(unit: number): boolean {
    return (this.#bits[unit >>> 3]! & (1 << (unit & 7))) !== 0;
  }

  /** The same marks, from now on independent. */
  copy(): DirtyBitmap {
    return new DirtyBitmap(0, this.granularity, this.#bits.slice());
  }

  /** Extents for `qemu:dirty-bitmap:*`. */
  status(offset: number, length: number, maxExtents: number): readonly StatusExtent[] {
    const query = { offset, length, maxExtents, unit: this.granularity };
    return statusRuns(query, unit => (this.isDirty(unit) ? NBD_STATE_DIRTY : 0));
  }
}
