import { DamagedError } from '../../errors.js';
import { EXTENT_WORDS, ExtentTable } from './extent-table.js';
import { ZERO_FRAME } from './format-limits.js';
import type { FrameTable } from './frame-table.js';
import type { IndexBounds } from './index-check.js';

const HIGH = 2 ** 32;

/** What extent rows are checked against, and how far they went: they come in pieces. */
export class ExtentCheck {
  readonly #frames: FrameTable;
  readonly #size: number;
  #row = 0;
  #end = 0;

  /** @param frames all of the index. */
  constructor(frames: FrameTable, { size }: Pick<IndexBounds, 'size'>) {
    this.#frames = frames;
    this.#size = size;
  }

  /**
   * Checks the next rows: each starts at or after the end of the one before, and lies inside the disk and its frame.
   * One pass over the words as they are, since an index has millions: what is wrong is put into words when something is.
   * @param words rows as `ExtentTable` has them.
   * @throws DamagedError
   */
  check(words: Uint32Array): void {
    const frames = this.#frames;
    let end = this.#end;
    let [frame, raw] = [ZERO_FRAME, 0];
    for (let at = 0; at < words.length; at += EXTENT_WORDS) {
      const w1 = words[at + 1]!;
      const w2 = words[at + 2]!;
      const w3 = words[at + 3]!;
      const isZero = w3 === ZERO_FRAME;
      if (w3 !== frame) {
        frame = w3;
        raw = w3 < frames.count ? frames.rawLengthAt(w3) : 0;
      }
      const offset = words[at]! + (w1 & 0xfffff) * HIGH;
      const length = (w1 >>> 20) + (isZero ? w2 : w2 & 0x3ff) * 4096 + 1;
      const isInFrame = isZero || (w2 >>> 10) + length <= raw;
      if (offset < end || offset + length > this.#size || !isInFrame) {
        throw this.#wrong(this.#row + at / EXTENT_WORDS, end, words.subarray(at, at + EXTENT_WORDS));
      }
      end = offset + length;
    }
    this.#end = end;
    this.#row += words.length / EXTENT_WORDS;
  }

  #wrong(row: number, end: number, words: Uint32Array): DamagedError {
    const one = new ExtentTable();
    one.appendRows(words);
    const offset = one.offsetAt(0);
    if (offset < end) return new DamagedError(`index: extent ${row} at ${offset} starts before ${end}`);
    if (one.endAt(0) > this.#size) {
      return new DamagedError(`index: extent ${row} ends at ${one.endAt(0)}, the disk at ${this.#size}`);
    }
    return this.#wrongPlace(row, one.frameAt(0), one.withinAt(0) + one.lengthAt(0));
  }

  #wrongPlace(row: number, frame: number, end: number): DamagedError {
    const { count } = this.#frames;
    if (frame >= count)
      return new DamagedError(`index: extent ${row} lies in frame ${frame}, there are ${count}`);
    const raw = this.#frames.rawLengthAt(frame);
    return new DamagedError(`index: extent ${row} ends at ${end} of frame ${frame}, which has ${raw} bytes`);
  }
}
