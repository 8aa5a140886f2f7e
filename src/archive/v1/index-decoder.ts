import { SEGMENT_MAX } from '../../codec/segment.js';
import { ChainError, DamagedError } from '../../errors.js';
import { archiveIdAt } from './archive-id.js';
import { ExtentCheck } from './extent-check.js';
import { ExtentTable } from './extent-table.js';
import { ARCHIVE_ID_LENGTH, EXTENT_ROW_LENGTH, FRAME_ROW_LENGTH } from './format-limits.js';
import { FrameTable } from './frame-table.js';
import { checkFrameRow, type IndexBounds } from './index-check.js';
import {
  decodeIndexHeader,
  INDEX_HEADER_LENGTH,
  type IndexContent,
  type IndexHeader,
} from './index-codec.js';
import { littleEndianWords } from './little-endian-words.js';

/** What the index must fit. */
export interface IndexExpectation {
  readonly archiveId: string;
  readonly rawLength: number;
  /** How many rows there have to be, as far as it is known. */
  readonly frames?: number | undefined;
  readonly extents?: number | undefined;
  /** See {@link IndexBounds}. */
  readonly volumeBytes: readonly (number | undefined)[];
}

/**
 * Decodes an index that comes in pieces of any length, checking every row as it comes: memory grows only with
 * rows that make sense, so a small file cannot unpack into a huge table.
 */
export class IndexDecoder {
  readonly #expected: IndexExpectation;
  readonly #buffer: Buffer;
  readonly #origins: string[] = [];
  readonly #frames = new FrameTable();
  readonly #extents = new ExtentTable();
  #held = 0;
  #header: IndexHeader | undefined;
  #bounds: IndexBounds | undefined;
  #extentCheck: ExtentCheck | undefined;

  constructor(expected: IndexExpectation) {
    this.#expected = expected;
    this.#buffer = Buffer.alloc(Math.min(SEGMENT_MAX, expected.rawLength) + FRAME_ROW_LENGTH);
  }

  /** Room for the next piece: at least SEGMENT_MAX bytes, or the whole index when it is smaller. */
  get target(): Uint8Array {
    return this.#buffer.subarray(this.#held);
  }

  /**
   * Takes the `length` bytes that were put at the start of {@link target}.
   * @throws DamagedError, ChainError CHAIN_FOREIGN, NbdeltaError FORMAT_UNSUPPORTED.
   */
  accept(length: number): void {
    this.#held += length;
    let used = 0;
    for (let step = this.#step(0); step > 0; step = this.#step(used)) used += step;
    this.#buffer.copyWithin(0, used, this.#held);
    this.#held -= used;
  }

  /** The whole index. @throws DamagedError when something is missing or left over. */
  finish(): IndexContent {
    const header = this.#header;
    if (header === undefined || this.#held > 0 || this.#extents.count < header.extentCount) {
      throw new DamagedError(
        `the index ends early: ${this.#frames.count} frames, ${this.#extents.count} extents`,
      );
    }
    const { archiveId, size } = header;
    return { archiveId, size, origins: this.#origins, frames: this.#frames, extents: this.#extents };
  }

  /** Decodes what lies at `at` as far as it is there in whole rows; returns its length, else 0. */
  #step(at: number): number {
    const held = this.#held - at;
    const header = this.#header;
    if (header === undefined) return held < INDEX_HEADER_LENGTH ? 0 : this.#decodeHeader();
    if (this.#origins.length < header.originCount)
      return held < ARCHIVE_ID_LENGTH ? 0 : this.#decodeOrigin(at);
    const frames = Math.min(header.frameCount - this.#frames.count, Math.floor(held / FRAME_ROW_LENGTH));
    if (this.#frames.count < header.frameCount) return this.#decodeFrames(at, frames * FRAME_ROW_LENGTH);
    const extents = Math.min(header.extentCount - this.#extents.count, Math.floor(held / EXTENT_ROW_LENGTH));
    if (this.#extents.count < header.extentCount) return this.#decodeExtents(at, extents * EXTENT_ROW_LENGTH);
    if (held > 0) throw new DamagedError('the index goes on after its last extent');
    return 0;
  }

  #decodeHeader(): number {
    const header = decodeIndexHeader(this.#buffer.subarray(0, INDEX_HEADER_LENGTH), this.#expected);
    const { size, originCount } = header;
    sameCount('frames', header.frameCount, this.#expected.frames);
    sameCount('extents', header.extentCount, this.#expected.extents);
    this.#header = header;
    this.#bounds = { size, originCount, volumeBytes: this.#expected.volumeBytes };
    this.#extentCheck = new ExtentCheck(this.#frames, this.#bounds);
    return INDEX_HEADER_LENGTH;
  }

  #decodeOrigin(at: number): number {
    const origin = archiveIdAt(this.#buffer, at);
    if (this.#origins.length === 0 && origin !== this.#expected.archiveId) {
      throw new ChainError(
        'CHAIN_FOREIGN',
        `the index calls itself archive ${origin}, expected ${this.#expected.archiveId}`,
      );
    }
    this.#origins.push(origin);
    return ARCHIVE_ID_LENGTH;
  }

  #decodeFrames(at: number, length: number): number {
    let frame = this.#frames.count;
    this.#frames.appendRows(this.#buffer.subarray(at, at + length));
    for (; frame < this.#frames.count; frame++) checkFrameRow(this.#frames, frame, this.#bounds!);
    return length;
  }

  #decodeExtents(at: number, length: number): number {
    const words = littleEndianWords(this.#buffer.subarray(at, at + length));
    this.#extentCheck!.check(words);
    this.#extents.appendRows(words);
    return length;
  }
}

function sameCount(what: string, count: number, expected: number | undefined): void {
  if (expected === undefined || count === expected) return;
  throw new DamagedError(`the index has ${count} ${what}, expected ${expected}`);
}
