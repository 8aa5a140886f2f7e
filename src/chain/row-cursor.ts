import { EXTENT_BLOCK_BITS, EXTENT_WORDS, type ExtentTable } from '../archive/v1/extent-table.js';
import { ZERO_FRAME } from '../archive/v1/format-limits.js';
import type { OverlayWindow } from './overlay-window.js';

const HIGH = 2 ** 32;
const BLOCK_ROWS = 1 << EXTENT_BLOCK_BITS;

export interface RowCursorOptions {
  /** What the archive's frame numbers are raised by. */
  readonly firstFrame: number;
  /** Gets the blocks that are behind the cursor. */
  readonly spare: Uint32Array[];
}

/** Goes once through an archive's extents, in the order of the disk, and gives their memory up as it goes. */
export class RowCursor {
  readonly #options: RowCursorOptions;
  readonly #blocks: (Uint32Array | undefined)[];
  readonly #count: number;
  #row = 0;
  #offset = 0;

  /** @param extents is empty afterwards. */
  constructor(extents: ExtentTable, options: RowCursorOptions) {
    const { blocks, count } = extents.takeBlocks();
    this.#options = options;
    this.#blocks = blocks;
    this.#count = count;
    this.#offset = this.offsetAhead(0);
  }

  /** First byte that was not taken; infinite at the end. */
  get offset(): number {
    return this.#offset;
  }

  /** Where the row starts that is `rows` ahead; infinite when there is none. */
  offsetAhead(rows: number): number {
    const row = this.#row + rows;
    if (row >= this.#count) return Number.POSITIVE_INFINITY;
    const block = this.#blocks[row >>> EXTENT_BLOCK_BITS]!;
    const at = (row % BLOCK_ROWS) * EXTENT_WORDS;
    return block[at]! + (block[at + 1]! & 0xfffff) * HIGH;
  }

  /** Puts into `window` what lies before its end; an extent that goes on behind it is cut there. */
  moveInto(window: OverlayWindow): void {
    while (this.#offset < window.end) {
      const row = this.#row;
      const block = row >>> EXTENT_BLOCK_BITS;
      this.#moveBlock(window, this.#blocks[block]!, Math.min(this.#count, (block + 1) * BLOCK_ROWS));
      if (this.#row >>> EXTENT_BLOCK_BITS !== block) this.#giveUp(block);
    }
  }

  /** Moves rows of one block, up to row `last`. */
  #moveBlock(window: OverlayWindow, block: Uint32Array, last: number): void {
    const { start, end } = window;
    const { firstFrame } = this.#options;
    let [row, from] = [this.#row, this.#offset];
    while (from < end) {
      const at = (row % BLOCK_ROWS) * EXTENT_WORDS;
      const w1 = block[at + 1]!;
      const w2 = block[at + 2]!;
      const w3 = block[at + 3]!;
      const isZero = w3 === ZERO_FRAME;
      const offset = block[at]! + (w1 & 0xfffff) * HIGH;
      const stop = offset + (w1 >>> 20) + (isZero ? w2 : w2 & 0x3ff) * 4096 + 1;
      const frame = isZero ? ZERO_FRAME : w3 + firstFrame;
      window.add(from - start, Math.min(stop, end) - start, frame, isZero ? 0 : (w2 >>> 10) + from - offset);
      if (stop > end) from = end;
      else if (++row === last) break;
      else from = block[at + EXTENT_WORDS]! + (block[at + EXTENT_WORDS + 1]! & 0xfffff) * HIGH;
    }
    this.#row = row;
    this.#offset = row === last ? this.offsetAhead(0) : from;
  }

  #giveUp(block: number): void {
    this.#options.spare.push(this.#blocks[block]!);
    this.#blocks[block] = undefined;
  }
}
