import { DIGEST_LENGTH, STORED_DIGEST_LENGTH } from '../../codec/blake3.js';
import { FRAME_ROW_LENGTH } from './format-limits.js';

const BLOCK_BITS = 10;
/** Rows per block (80 KiB): growing appends a block and copies nothing. */
const BLOCK_ROWS = 1 << BLOCK_BITS;
/** Rows that the first block begins with: a pack's table has no more, and a chain has many small tables. */
const FIRST_ROWS = 16;
const HIGH = 2 ** 32;

/** Offsets of the fields in a row. */
const DIGEST = 0;
const STORED_DIGEST = 32;
const TAR_OFFSET = 48;
const STORED_LENGTH = 56;
const RAW_LENGTH = 60;
const VOLUME = 64;
const KEY_ID = 66;
const ORIGIN = 68;
const ORIGIN_FRAME = 72;

/** One frame, for appending; the table keeps rows, not objects. */
export interface FrameRow {
  /** BLAKE3 of the raw content, 32 bytes. */
  readonly digest: Uint8Array;
  /** First 16 bytes of the BLAKE3 of the stored bytes. */
  readonly storedDigest: Uint8Array;
  readonly storedLength: number;
  readonly rawLength: number;
  /** 0: not encrypted. */
  readonly keyId: number;
  /** Entry of the origin table; 0: this archive. */
  readonly origin: number;
  readonly originFrame: number;
}

/**
 * Frames of an archive, 80 bytes each: the format's rows as they are.
 *
 *      0  digest 32 | stored digest 16
 *     48  offset in the volume's file u64 | stored length u32 | raw length u32
 *     64  volume u16 | key id u16 | origin u16 | reserved u16 | origin frame u32 | reserved u32
 */
export class FrameTable {
  readonly #blocks: Uint8Array[] = [];
  /** Of the same memory as the blocks. */
  readonly #views: DataView[] = [];
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /** Appends a frame whose place is not known yet; see {@link place}. */
  append(row: FrameRow): void {
    const block = this.#lastBlock();
    const index = this.#count++;
    const at = this.#at(index);
    block.set(row.digest.subarray(0, DIGEST_LENGTH), at + DIGEST);
    block.set(row.storedDigest.subarray(0, STORED_DIGEST_LENGTH), at + STORED_DIGEST);
    const view = this.#view(index);
    view.setUint32(at + STORED_LENGTH, row.storedLength, true);
    view.setUint32(at + RAW_LENGTH, row.rawLength, true);
    view.setUint16(at + KEY_ID, row.keyId, true);
    view.setUint16(at + ORIGIN, row.origin, true);
    view.setUint32(at + ORIGIN_FRAME, row.originFrame, true);
  }

  /** Appends rows as the format has them. */
  appendRows(rows: Uint8Array): void {
    for (let from = 0; from < rows.length; ) {
      const block = this.#lastBlock();
      const to = this.#at(this.#count);
      const taken = Math.min(rows.length - from, block.length - to);
      block.set(rows.subarray(from, from + taken), to);
      this.#count += taken / FRAME_ROW_LENGTH;
      from += taken;
    }
  }

  /** Says where the stored bytes of frame `index` are. */
  place(index: number, volume: number, offset: number): void {
    const at = this.#at(index);
    const view = this.#view(index);
    view.setUint32(at + TAR_OFFSET, offset % HIGH, true);
    view.setUint32(at + TAR_OFFSET + 4, Math.floor(offset / HIGH), true);
    view.setUint16(at + VOLUME, volume, true);
  }

  /** BLAKE3 of the raw content: a view of the table, 32 bytes. */
  digestAt(index: number): Uint8Array {
    return this.#bytes(index, DIGEST, DIGEST_LENGTH);
  }

  /** First 16 bytes of the BLAKE3 of the stored bytes: a view of the table. */
  storedDigestAt(index: number): Uint8Array {
    return this.#bytes(index, STORED_DIGEST, STORED_DIGEST_LENGTH);
  }

  /** Where the stored bytes start in the volume's file. A hostile row may say up to 2^64: then not exact. */
  offsetAt(index: number): number {
    return this.#u32(index, TAR_OFFSET) + this.#u32(index, TAR_OFFSET + 4) * HIGH;
  }

  storedLengthAt(index: number): number {
    return this.#u32(index, STORED_LENGTH);
  }

  rawLengthAt(index: number): number {
    return this.#u32(index, RAW_LENGTH);
  }

  /** Volume that holds the stored bytes, from 1. */
  volumeAt(index: number): number {
    return this.#u16(index, VOLUME);
  }

  /** 0: not encrypted. */
  keyIdAt(index: number): number {
    return this.#u16(index, KEY_ID);
  }

  /** Entry of the origin table; 0: this archive. */
  originAt(index: number): number {
    return this.#u16(index, ORIGIN);
  }

  /** Number that the frame had in its origin archive. */
  originFrameAt(index: number): number {
    return this.#u32(index, ORIGIN_FRAME);
  }

  /** Writes rows `[from, from + count)` to `target` at `at`, as the format has them. */
  encode(from: number, count: number, target: Uint8Array, at: number): void {
    for (let row = 0; row < count; row++) {
      target.set(this.#bytes(from + row, 0, FRAME_ROW_LENGTH), at + row * FRAME_ROW_LENGTH);
    }
  }

  /** The block that takes the next row. The first one grows until it is a whole block. */
  #lastBlock(): Uint8Array {
    const number = this.#count >>> BLOCK_BITS;
    const last = this.#blocks[number];
    if (last !== undefined && this.#at(this.#count) < last.length) return last;
    const rows = number > 0 ? BLOCK_ROWS : Math.min(BLOCK_ROWS, Math.max(FIRST_ROWS, 4 * this.#count));
    const block = new Uint8Array(rows * FRAME_ROW_LENGTH);
    if (last !== undefined) block.set(last);
    this.#blocks[number] = block;
    this.#views[number] = new DataView(block.buffer);
    return block;
  }

  #view(index: number): DataView {
    return this.#views[index >>> BLOCK_BITS]!;
  }

  #at(index: number): number {
    return (index % BLOCK_ROWS) * FRAME_ROW_LENGTH;
  }

  #bytes(index: number, field: number, length: number): Uint8Array {
    const at = this.#at(index) + field;
    return this.#blocks[index >>> BLOCK_BITS]!.subarray(at, at + length);
  }

  #u32(index: number, field: number): number {
    return this.#view(index).getUint32(this.#at(index) + field, true);
  }

  #u16(index: number, field: number): number {
    return this.#view(index).getUint16(this.#at(index) + field, true);
  }
}
