import { ExtentTable } from '../archive/v1/extent-table.js';
import { MAX_ZERO_EXTENT, ZERO_FRAME } from '../archive/v1/format-limits.js';
import { UsageError } from '../errors.js';

/** Frame number of a segment that is zero and has no frame. */
export const NO_FRAME = ZERO_FRAME;

/**
 * Where each byte of a disk lies: ascending, non-overlapping segments, each in one frame of one archive of the
 * chain, or zero. 16 bytes a segment: an extent's row, whose frame number goes on from archive to archive:
 *
 *     archive 0, 3 frames   archive 1, 2 frames
 *     [0][1][2]             [3][4]
 *
 * Offsets and lengths in bytes.
 */
export class SegmentTable {
  readonly #rows: ExtentTable;
  /** Number of each archive's first frame; behind the last one, how many there are. */
  readonly #firstFrames: readonly number[];
  #end = 0;
  /** The archive that was looked for last: the next one is often the same. */
  #lastArchive = 0;

  /**
   * @param frameCounts of the archives, oldest first; by default there is one, and any frame is its.
   * @param spare memory that is used first; see {@link ExtentTable}.
   */
  constructor(frameCounts: readonly number[] = [NO_FRAME], spare: Uint32Array[] = []) {
    this.#rows = new ExtentTable(spare);
    this.#firstFrames = sumsBefore(frameCounts);
  }

  get count(): number {
    return this.#rows.count;
  }

  /** First byte after the last segment. */
  get end(): number {
    return this.#end;
  }

  /** Number that an archive's frame 0 has in {@link append}. */
  firstFrameOf(archive: number): number {
    return this.#firstFrames[archive]!;
  }

  /**
   * Appends a segment of an archive's frame, numbered from {@link firstFrameOf} on, or {@link NO_FRAME}; it must
   * start at or after {@link end}. What goes on where the last segment ended makes that one longer.
   */
  append(offset: number, length: number, frame: number, within: number): void {
    const touches = offset === this.#end;
    this.#end = offset + length;
    if (frame === NO_FRAME) this.#appendZero(offset, length, touches);
    else if (touches && this.#continuesLast(frame, within)) this.#rows.extendLast(length);
    else this.#rows.append(offset, length, frame, within);
  }

  #continuesLast(frame: number, within: number): boolean {
    const last = this.#rows.count - 1;
    if (last < 0 || this.#rows.frameAt(last) !== frame) return false;
    return this.#rows.withinAt(last) + this.#rows.lengthAt(last) === within;
  }

  #appendZero(offset: number, length: number, touches: boolean): void {
    let [at, left] = [offset, length];
    const last = this.#rows.count - 1;
    if (touches && last >= 0 && this.#rows.isZeroAt(last)) {
      at = this.#rows.offsetAt(last);
      left = this.#end - at;
      this.#rows.removeLast();
    }
    for (; left > 0; left = this.#end - at) {
      const most = Math.min(left, MAX_ZERO_EXTENT);
      this.#rows.appendZero(at, most);
      at += most;
    }
  }

  offsetAt(index: number): number {
    return this.#rows.offsetAt(index);
  }

  lengthAt(index: number): number {
    return this.#rows.lengthAt(index);
  }

  endAt(index: number): number {
    return this.#rows.endAt(index);
  }

  /** Position in the chain of the archive that a data segment lies in; 0 is the oldest. */
  archiveAt(index: number): number {
    return this.#archiveOf(this.#rows.frameAt(index));
  }

  /** Frame in that archive, or {@link NO_FRAME}. */
  frameAt(index: number): number {
    const frame = this.#rows.frameAt(index);
    return frame === NO_FRAME ? NO_FRAME : frame - this.#firstFrames[this.#archiveOf(frame)]!;
  }

  /** Offset of the segment's first byte in the frame's raw content. */
  withinAt(index: number): number {
    return this.isZeroAt(index) ? 0 : this.#rows.withinAt(index);
  }

  isZeroAt(index: number): boolean {
    return this.#rows.isZeroAt(index);
  }

  /** Index of the first segment that ends after `offset`; {@link count} when there is none. */
  find(offset: number): number {
    return this.#rows.find(offset);
  }

  #archiveOf(frame: number): number {
    const firsts = this.#firstFrames;
    const known = this.#lastArchive;
    if (firsts[known]! <= frame && frame < firsts[known + 1]!) return known;
    let low = 0;
    let high = firsts.length - 2;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (firsts[middle]! <= frame) low = middle;
      else high = middle - 1;
    }
    this.#lastArchive = low;
    return low;
  }
}

function sumsBefore(counts: readonly number[]): readonly number[] {
  let sum = 0;
  const sums = [0, ...counts.map(count => (sum += count))];
  if (sum <= NO_FRAME) return sums;
  throw new UsageError(`a chain of ${sum} frames, at most ${NO_FRAME} can be opened`);
}
