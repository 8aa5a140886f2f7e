/** Entries per block of columns: growing appends a block and copies nothing. */
const BLOCK = 1 << 14;

/** Frame number of a segment that is zero and has no frame. */
export const NO_FRAME = 0xffffffff;

interface Columns {
  readonly offsets: Float64Array;
  readonly lengths: Float64Array;
  readonly archives: Uint16Array;
  readonly frames: Uint32Array;
  readonly withins: Uint32Array;
}

/**
 * Where each byte of a disk lies: ascending, non-overlapping segments, each in one frame of one archive of the
 * chain, or zero. 26 bytes a segment, in columns. Offsets and lengths in bytes.
 */
export class SegmentTable {
  readonly #blocks: Columns[] = [];
  #count = 0;
  #end = 0;

  get count(): number {
    return this.#count;
  }

  /** First byte after the last segment. */
  get end(): number {
    return this.#end;
  }

  /** Appends a segment; it must start at or after {@link end}. Zero segments that touch become one. */
  append(offset: number, length: number, archive: number, frame: number, within: number): void {
    if (frame === NO_FRAME && this.#extendZero(offset, length)) return;
    const slot = this.#count % BLOCK;
    if (slot === 0) this.#blocks.push(newColumns());
    const block = this.#blocks[this.#blocks.length - 1]!;
    block.offsets[slot] = offset;
    block.lengths[slot] = length;
    block.archives[slot] = archive;
    block.frames[slot] = frame;
    block.withins[slot] = within;
    this.#count++;
    this.#end = offset + length;
  }

  #extendZero(offset: number, length: number): boolean {
    const last = this.#count - 1;
    if (last < 0 || this.#end !== offset || this.frameAt(last) !== NO_FRAME) return false;
    this.#block(last).lengths[last % BLOCK]! += length;
    this.#end = offset + length;
    return true;
  }

  #block(index: number): Columns {
    return this.#blocks[Math.floor(index / BLOCK)]!;
  }

  offsetAt(index: number): number {
    return this.#block(index).offsets[index % BLOCK]!;
  }

  lengthAt(index: number): number {
    return this.#block(index).lengths[index % BLOCK]!;
  }

  endAt(index: number): number {
    return this.offsetAt(index) + this.lengthAt(index);
  }

  /** Position of the archive in the chain; 0 is the oldest. */
  archiveAt(index: number): number {
    return this.#block(index).archives[index % BLOCK]!;
  }

  /** Frame in that archive, or {@link NO_FRAME}. */
  frameAt(index: number): number {
    return this.#block(index).frames[index % BLOCK]!;
  }

  /** Offset of the segment's first byte in the frame's raw content. */
  withinAt(index: number): number {
    return this.#block(index).withins[index % BLOCK]!;
  }

  isZeroAt(index: number): boolean {
    return this.frameAt(index) === NO_FRAME;
  }

  /** Index of the first segment that ends after `offset`; {@link count} when there is none. */
  find(offset: number): number {
    let low = 0;
    let high = this.#count;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.endAt(middle) <= offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function newColumns(): Columns {
  return {
    offsets: new Float64Array(BLOCK),
    lengths: new Float64Array(BLOCK),
    archives: new Uint16Array(BLOCK),
    frames: new Uint32Array(BLOCK),
    withins: new Uint32Array(BLOCK),
  };
}
