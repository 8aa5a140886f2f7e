import { ZERO_FRAME } from './format-limits.js';

/** Rows of a block: 2 to the power of this. */
export const EXTENT_BLOCK_BITS = 12;
/** Words of a row. */
export const EXTENT_WORDS = 4;

/** Rows per block (64 KiB): growing appends a block and copies nothing. A power of two. */
const BLOCK_ROWS = 1 << EXTENT_BLOCK_BITS;
/** Rows that the first block begins with: a chain has many tables with few rows. */
const FIRST_ROWS = 64;
const HIGH = 2 ** 32;

/**
 * Extents of an archive, sorted by offset, 16 bytes each: the format's rows as they are, held as four words.
 *
 *     w0        offset, bits 0-31
 *     w1        bits 0-19: offset, bits 32-51; bits 20-31: length - 1, bits 0-11
 *     w2  data  bits 0-9: length - 1, bits 12-21; bits 10-31: where in the frame's raw content
 *         zero  length - 1, bits 12-43
 *     w3        frame number; 0xffffffff: zero extent
 *
 * The table does not check what is put in; writer and reader do.
 */
export class ExtentTable {
  readonly #spare: Uint32Array[];
  #blocks: Uint32Array[] = [];
  #count = 0;

  /** @param spare blocks that other tables gave up ({@link takeBlocks}): they are used before new memory is. */
  constructor(spare: Uint32Array[] = []) {
    this.#spare = spare;
  }

  get count(): number {
    return this.#count;
  }

  /** Appends a data extent: `length` bytes of the disk at `offset` lie in `frame` from raw byte `within`. */
  append(offset: number, length: number, frame: number, within: number): void {
    const rest = length - 1;
    this.#push(offset >>> 0, wordOne(offset, rest), (rest >>> 12) | (within << 10), frame);
  }

  /** Appends a zero extent of at most 16 TiB. */
  appendZero(offset: number, length: number): void {
    const rest = length - 1;
    this.#push(offset >>> 0, wordOne(offset, rest), Math.floor(rest / 4096), ZERO_FRAME);
  }

  /** Makes the last extent longer by `length` bytes; it must be a data extent. */
  extendLast(length: number): void {
    const last = --this.#count;
    this.append(this.offsetAt(last), this.lengthAt(last) + length, this.frameAt(last), this.withinAt(last));
  }

  removeLast(): void {
    this.#count--;
  }

  offsetAt(index: number): number {
    return this.#word(index, 0) + (this.#word(index, 1) & 0xfffff) * HIGH;
  }

  lengthAt(index: number): number {
    const high = this.isZeroAt(index) ? this.#word(index, 2) : this.#word(index, 2) & 0x3ff;
    return (this.#word(index, 1) >>> 20) + high * 4096 + 1;
  }

  /** First byte after extent `index`. */
  endAt(index: number): number {
    return this.offsetAt(index) + this.lengthAt(index);
  }

  /** Frame number; only of a data extent. */
  frameAt(index: number): number {
    return this.#word(index, 3);
  }

  /** Where a data extent starts in the raw content of its frame. */
  withinAt(index: number): number {
    return this.#word(index, 2) >>> 10;
  }

  isZeroAt(index: number): boolean {
    return this.#word(index, 3) === ZERO_FRAME;
  }

  /** Index of the extent that contains `offset`, else of the first one after it, else {@link count}. */
  find(offset: number): number {
    let low = 0;
    let high = this.#count;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if (this.endAt(middle) > offset) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** Writes rows `[from, from + count)` to `target` at `at`, as the format has them. */
  encode(from: number, count: number, target: Buffer, at: number): void {
    for (let row = 0, to = at; row < count; row++) {
      for (let word = 0; word < EXTENT_WORDS; word++, to += 4)
        target.writeUInt32LE(this.#word(from + row, word), to);
    }
  }

  /** Appends rows, {@link EXTENT_WORDS} words each. */
  appendRows(words: Uint32Array): void {
    for (let from = 0; from < words.length; ) {
      const block = this.#lastBlock();
      const at = (this.#count % BLOCK_ROWS) * EXTENT_WORDS;
      const taken = Math.min(words.length - from, block.length - at);
      block.set(words.subarray(from, from + taken), at);
      this.#count += taken / EXTENT_WORDS;
      from += taken;
    }
  }

  /** The rows, in blocks that are full but for the last one; they are the caller's, and the table is empty. */
  takeBlocks(): { readonly blocks: Uint32Array[]; readonly count: number } {
    const taken = { blocks: this.#blocks, count: this.#count };
    this.#blocks = [];
    this.#count = 0;
    return taken;
  }

  #push(w0: number, w1: number, w2: number, w3: number): void {
    const block = this.#lastBlock();
    const at = (this.#count % BLOCK_ROWS) * EXTENT_WORDS;
    block[at] = w0;
    block[at + 1] = w1;
    block[at + 2] = w2;
    block[at + 3] = w3;
    this.#count++;
  }

  /** The block that takes the next row. The first one grows until it is a whole block. */
  #lastBlock(): Uint32Array {
    const number = this.#count >>> EXTENT_BLOCK_BITS;
    const last = this.#blocks[number];
    if (last !== undefined && (this.#count % BLOCK_ROWS) * EXTENT_WORDS < last.length) return last;
    const block = this.#spare.pop() ?? new Uint32Array(this.#rowsOfBlock(number) * EXTENT_WORDS);
    if (last !== undefined) block.set(last);
    this.#blocks[number] = block;
    return block;
  }

  #rowsOfBlock(number: number): number {
    return number > 0 ? BLOCK_ROWS : Math.min(BLOCK_ROWS, Math.max(FIRST_ROWS, 4 * this.#count));
  }

  #word(index: number, word: number): number {
    return this.#blocks[index >>> EXTENT_BLOCK_BITS]![(index % BLOCK_ROWS) * EXTENT_WORDS + word]!;
  }
}

function wordOne(offset: number, rest: number): number {
  return Math.floor(offset / HIGH) | ((rest & 0xfff) << 20);
}
