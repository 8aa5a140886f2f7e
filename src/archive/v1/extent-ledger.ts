import { UsageError } from '../../errors.js';
import type { Range } from '../../extents/extent-list.js';
import { ExtentTable } from './extent-table.js';
import { MAX_ZERO_EXTENT } from './format-limits.js';

/**
 * The extents of an archive while it is written: refuses what is out of order or outside of the disk, joins
 * neighbours, splits zero ranges that are too long for one row. A zero range becomes a row only when it is known
 * where it ends.
 */
export class ExtentLedger {
  readonly table = new ExtentTable();
  readonly #size: number;
  #end = 0;
  #zeroStart = 0;
  #zeroEnd = 0;
  /** Rows before this one are in a pack already and do not change any more. */
  #settled = 0;
  #dataBytes = 0;
  #zeroBytes = 0;

  constructor(size: number) {
    this.#size = size;
  }

  get dataBytes(): number {
    return this.#dataBytes;
  }

  get zeroBytes(): number {
    return this.#zeroBytes;
  }

  /**
   * Checks that ranges may follow what was added, each after the one before.
   * @throws UsageError
   */
  check(ranges: readonly Range[]): void {
    let end = this.#end;
    for (const { offset, length } of ranges) {
      if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || length < 1) {
        throw new UsageError(`extent at ${offset} has length ${length}`);
      }
      if (offset < end) throw new UsageError(`extent at ${offset} starts before ${end}`);
      end = offset + length;
      if (end > this.#size)
        throw new UsageError(`extent at ${offset} ends at ${end}, the disk at ${this.#size}`);
    }
  }

  /** Adds a checked data range. */
  addData(offset: number, length: number, frame: number, within: number): void {
    this.flush();
    this.#dataBytes += length;
    if (this.#continuesLast(offset, frame, within)) this.table.extendLast(length);
    else this.table.append(offset, length, frame, within);
    this.#end = offset + length;
  }

  /** Adds a checked zero range. */
  addZero(offset: number, length: number): void {
    if (offset !== this.#zeroEnd) this.flush();
    if (this.#zeroEnd === this.#zeroStart) this.#zeroStart = offset;
    this.#zeroBytes += length;
    this.#zeroEnd = offset + length;
    this.#end = this.#zeroEnd;
  }

  /** How many rows the zero range that is still growing would make. */
  get growingRows(): number {
    return Math.ceil((this.#zeroEnd - this.#zeroStart) / MAX_ZERO_EXTENT);
  }

  /** Makes rows of the zero range that is still growing. */
  flush(): void {
    for (let at = this.#zeroStart; at < this.#zeroEnd; at += MAX_ZERO_EXTENT) {
      this.table.appendZero(at, Math.min(MAX_ZERO_EXTENT, this.#zeroEnd - at));
    }
    this.#zeroStart = this.#zeroEnd;
  }

  /** Rows so far go into a pack: later ones do not join them. */
  settle(): void {
    this.#settled = this.table.count;
  }

  #continuesLast(offset: number, frame: number, within: number): boolean {
    const last = this.table.count - 1;
    if (last < this.#settled || this.table.frameAt(last) !== frame) return false;
    return (
      this.table.endAt(last) === offset && this.table.withinAt(last) + this.table.lengthAt(last) === within
    );
  }
}
