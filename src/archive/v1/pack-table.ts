import { blake3Digest, DIGEST_LENGTH } from '../../codec/blake3.js';
import { DamagedError, NbdeltaError } from '../../errors.js';
import { archiveIdAt, archiveIdBytes } from './archive-id.js';
import { ExtentTable } from './extent-table.js';
import { ARCHIVE_VERSION, EXTENT_ROW_LENGTH, FRAME_ROW_LENGTH } from './format-limits.js';
import { FrameTable } from './frame-table.js';
import { littleEndianWords } from './little-endian-words.js';

/** zstd's skippable frames have 16 magics, 0x184D2A50 to 0x184D2A5F; this one is ours. */
const SKIPPABLE_MAGIC = 0x184d2a5e;
export const SKIPPABLE_HEADER = 8;
export const PACK_MAGIC = 'NBDXPACK';
const TABLE_HEADER = 44;
const HEAD = SKIPPABLE_HEADER + TABLE_HEADER;

/** Which rows of the archive's tables belong to a pack. */
export interface PackRows {
  readonly archiveId: string;
  /** Number of the pack, from 1. */
  readonly pack: number;
  readonly firstFrame: number;
  readonly frameCount: number;
  readonly firstExtent: number;
  readonly extentCount: number;
}

/** What the table at the end of a pack says. */
export interface PackTable {
  readonly archiveId: string;
  readonly pack: number;
  /** Number that the first row of `frames` has in the archive. */
  readonly firstFrame: number;
  readonly frames: FrameTable;
  readonly extents: ExtentTable;
}

/** Length of a pack's table with so many rows. */
export function packTableLength(frameCount: number, extentCount: number): number {
  return HEAD + frameCount * FRAME_ROW_LENGTH + extentCount * EXTENT_ROW_LENGTH + DIGEST_LENGTH;
}

/**
 * A zstd skippable frame:
 *
 *      0  magic u32 | length of the rest u32
 *      8  "NBDXPACK" | version u32 | archive id 16 | pack u32
 *     40  first frame u32 | frame count u32 | extent count u32
 *     52  frame rows | extent rows | BLAKE3 of everything from 8 on
 */
export function encodePackTable(rows: PackRows, frames: FrameTable, extents: ExtentTable): Buffer {
  const table = Buffer.alloc(packTableLength(rows.frameCount, rows.extentCount));
  table.writeUInt32LE(SKIPPABLE_MAGIC, 0);
  table.writeUInt32LE(table.length - SKIPPABLE_HEADER, 4);
  table.write(PACK_MAGIC, 8, 'latin1');
  table.writeUInt32LE(ARCHIVE_VERSION, 16);
  archiveIdBytes(rows.archiveId).copy(table, 20);
  table.writeUInt32LE(rows.pack, 36);
  table.writeUInt32LE(rows.firstFrame, 40);
  table.writeUInt32LE(rows.frameCount, 44);
  table.writeUInt32LE(rows.extentCount, 48);
  frames.encode(rows.firstFrame, rows.frameCount, table, HEAD);
  extents.encode(rows.firstExtent, rows.extentCount, table, HEAD + rows.frameCount * FRAME_ROW_LENGTH);
  table.set(blake3Digest(table.subarray(SKIPPABLE_HEADER, -DIGEST_LENGTH)), table.length - DIGEST_LENGTH);
  return table;
}

/**
 * Decodes a pack's table, `bytes` being exactly the skippable frame. Rows are not checked against anything but
 * the table's digest.
 * @throws DamagedError when it is not a whole pack table; NbdeltaError FORMAT_UNSUPPORTED for a newer one.
 */
export function decodePackTable(bytes: Uint8Array): PackTable {
  const table = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [frameCount, extentCount] = checkPackTable(table);
  const frames = new FrameTable();
  const extentsAt = HEAD + frameCount * FRAME_ROW_LENGTH;
  frames.appendRows(table.subarray(HEAD, extentsAt));
  const extents = new ExtentTable();
  extents.appendRows(
    littleEndianWords(table.subarray(extentsAt, extentsAt + extentCount * EXTENT_ROW_LENGTH)),
  );
  return {
    archiveId: archiveIdAt(table, 20),
    pack: table.readUInt32LE(36),
    firstFrame: table.readUInt32LE(40),
    frames,
    extents,
  };
}

function checkPackTable(table: Buffer): [frameCount: number, extentCount: number] {
  if (table.length < packTableLength(0, 0) || table.readUInt32LE(0) !== SKIPPABLE_MAGIC)
    throw notAPackTable(table);
  if (table.toString('latin1', 8, 16) !== PACK_MAGIC) throw notAPackTable(table);
  const version = table.readUInt32LE(16);
  if (version !== ARCHIVE_VERSION) {
    throw new NbdeltaError(
      'FORMAT_UNSUPPORTED',
      `pack table version ${version}, expected ${ARCHIVE_VERSION}`,
    );
  }
  const [frameCount, extentCount] = [table.readUInt32LE(44), table.readUInt32LE(48)];
  const expected = packTableLength(frameCount, extentCount);
  if (table.length !== expected || table.readUInt32LE(4) !== expected - SKIPPABLE_HEADER) {
    throw new DamagedError(`pack table of ${table.length} bytes, its counts make ${expected}`);
  }
  const digest = blake3Digest(table.subarray(SKIPPABLE_HEADER, -DIGEST_LENGTH));
  if (Buffer.compare(digest, table.subarray(-DIGEST_LENGTH)) !== 0) {
    throw new DamagedError('pack table does not match its digest');
  }
  return [frameCount, extentCount];
}

function notAPackTable(table: Buffer): DamagedError {
  return new DamagedError(`${table.length} bytes are not a pack table`);
}
