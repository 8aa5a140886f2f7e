import { DIGEST_LENGTH, STORED_DIGEST_LENGTH } from '../../codec/blake3.js';
import { FRAME_ROW_LENGTH } from './format-limits.js';

/** Rows per block (1.25 MiB): growing appends a block and copies nothing. */
const BLOCK_ROWS = 1 << 14;
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
  readonly #blocks: Buffer[] = [];
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /** Appends a frame whose place is not known yet; see {@link place}. */
  append(row: FrameRow): void {
    const [block, at] = this.#next();
    block.set(row.digest.subarray(0, DIGEST_LENGTH), at + DIGEST);
    block.set(row.storedDigest.subarray(0, STORED_DIGEST_LENGTH), at + STORED_DIGEST);
    block.writeUInt32LE(row.storedLength, at + STORED_LENGTH);
    block.writeUInt32LE(row.rawLength, at + RAW_LENGTH);
    block.writeUInt16LE(row.keyId, at + KEY_ID);
    block.writeUInt16LE(row.origin, at + ORIGIN);
    block.writeUInt32LE(row.originFrame, at + ORIGIN_FRAME);
  }

  /** Appends the row at `at` of `source`. */
  appendRow(source: Uint8Array, at: number): void {
    const [block, to] = this.#next();
    block.set(source.subarray(at, at + FRAME_ROW_LENGTH), to);
  }

  /** Says where the stored bytes of frame `index` are. */
  place(index: number, volume: number, offset: number): void {
    const at = this.#at(index);
    this.#block(index).writeUInt32LE(offset % HIGH, at + TAR_OFFSET);
    this.#block(index).writeUInt32LE(Math.floor(offset / HIGH), at + TAR_OFFSET + 4);
    this.#block(index).writeUInt16LE(volume, at + VOLUME);
  }

  /** BLAKE3 of the raw content: a view of the table, 32 bytes. */
  digestAt(index: number): Uint8Array {
    return this.#view(index, DIGEST, DIGEST_LENGTH);
  }

  /** First 16 bytes of the BLAKE3 of the stored bytes: a view of the table. */
  storedDigestAt(index: number): Uint8Array {
    return this.#view(index, STORED_DIGEST, STORED_DIGEST_LENGTH);
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
      target.set(this.#view(from + row, 0, FRAME_ROW_LENGTH), at + row * FRAME_ROW_LENGTH);
    }
  }

  #next(): [Buffer, number] {
    const index = this.#count++;
    if (index % BLOCK_ROWS === 0) this.#blocks.push(Buffer.alloc(BLOCK_ROWS * FRAME_ROW_LENGTH));
    return [this.#block(index), this.#at(index)];
  }

  #block(index: number): Buffer {
    return this.#blocks[Math.floor(index / BLOCK_ROWS)]!;
  }

  #at(index: number): number {
    return (index % BLOCK_ROWS) * FRAME_ROW_LENGTH;
  }

  #view(index: number, field: number, length: number): Uint8Array {
    const at = this.#at(index) + field;
    return this.#block(index).subarray(at, at + length);
  }

  #u32(index: number, field: number): number {
    return this.#block(index).readUInt32LE(this.#at(index) + field);
  }

  #u16(index: number, field: number): number {
    return this.#block(index).readUInt16LE(this.#at(index) + field);
  }
}
