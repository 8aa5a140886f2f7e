import { SEGMENT_MAX } from '../../codec/segment.js';
import { ChainError, DamagedError, NbdeltaError } from '../../errors.js';
import { archiveIdAt, archiveIdBytes } from './archive-id.js';
import type { ExtentTable } from './extent-table.js';
import {
  ARCHIVE_ID_LENGTH,
  ARCHIVE_VERSION,
  EXTENT_ROW_LENGTH,
  FRAME_ROW_LENGTH,
  MAX_ORIGINS,
} from './format-limits.js';
import type { FrameTable } from './frame-table.js';

const MAGIC = 'NBDXIDX1';
export const INDEX_HEADER_LENGTH = 64;

/** What the first 64 bytes of an index say. */
export interface IndexHeader {
  readonly archiveId: string;
  /** Size of the disk in bytes. */
  readonly size: number;
  readonly frameCount: number;
  readonly originCount: number;
  readonly extentCount: number;
}

/** Everything that an index holds. */
export interface IndexContent {
  readonly archiveId: string;
  readonly size: number;
  /** Archive ids; entry 0 is this archive. */
  readonly origins: readonly string[];
  readonly frames: FrameTable;
  readonly extents: ExtentTable;
}

/** Length of an index before compression. */
export function indexRawLength(
  header: Pick<IndexHeader, 'frameCount' | 'originCount' | 'extentCount'>,
): number {
  const { originCount, frameCount, extentCount } = header;
  const rows =
    originCount * ARCHIVE_ID_LENGTH + frameCount * FRAME_ROW_LENGTH + extentCount * EXTENT_ROW_LENGTH;
  return INDEX_HEADER_LENGTH + rows;
}

/**
 *      0  "NBDXIDX1" | version u32 | archive id 16
 *     28  size of the disk u64 | frames u32 | origins u32 | extents u64 | reserved 12
 */
export function encodeIndexHeader(header: IndexHeader): Buffer {
  const bytes = Buffer.alloc(INDEX_HEADER_LENGTH);
  bytes.write(MAGIC, 0, 'latin1');
  bytes.writeUInt32LE(ARCHIVE_VERSION, 8);
  archiveIdBytes(header.archiveId).copy(bytes, 12);
  bytes.writeBigUInt64LE(BigInt(header.size), 28);
  bytes.writeUInt32LE(header.frameCount, 36);
  bytes.writeUInt32LE(header.originCount, 40);
  bytes.writeBigUInt64LE(BigInt(header.extentCount), 44);
  return bytes;
}

/**
 * @param expected what the archive was opened as.
 * @throws NbdeltaError FORMAT_UNSUPPORTED, ChainError CHAIN_FOREIGN, DamagedError.
 */
export function decodeIndexHeader(
  bytes: Buffer,
  expected: { archiveId: string; rawLength: number },
): IndexHeader {
  const magic = bytes.toString('latin1', 0, 8);
  if (magic !== MAGIC)
    throw new DamagedError(`the index starts with ${JSON.stringify(magic)}, expected ${MAGIC}`);
  const version = bytes.readUInt32LE(8);
  if (version !== ARCHIVE_VERSION) {
    throw new NbdeltaError('FORMAT_UNSUPPORTED', `index version ${version}, expected ${ARCHIVE_VERSION}`);
  }
  const header = {
    archiveId: archiveIdAt(bytes, 12),
    size: Number(bytes.readBigUInt64LE(28)),
    frameCount: bytes.readUInt32LE(36),
    originCount: bytes.readUInt32LE(40),
    extentCount: Number(bytes.readBigUInt64LE(44)),
  };
  checkIndexHeader(header, expected);
  return header;
}

function checkIndexHeader(header: IndexHeader, expected: { archiveId: string; rawLength: number }): void {
  if (header.archiveId !== expected.archiveId) {
    throw new ChainError(
      'CHAIN_FOREIGN',
      `the index is of archive ${header.archiveId}, expected ${expected.archiveId}`,
    );
  }
  if (header.originCount < 1 || header.originCount > MAX_ORIGINS) {
    throw new DamagedError(`the index has ${header.originCount} origins, expected 1 to ${MAX_ORIGINS}`);
  }
  const rawLength = indexRawLength(header);
  if (rawLength !== expected.rawLength) {
    throw new DamagedError(`the index has ${expected.rawLength} bytes, its counts make ${rawLength}`);
  }
}

/** The index as segments to be compressed one by one, each of whole rows. A segment is valid until the next. */
export function* indexSegments(index: IndexContent): Generator<Uint8Array, void, undefined> {
  const { archiveId, size, origins, frames, extents } = index;
  const counts = { frameCount: frames.count, originCount: origins.length, extentCount: extents.count };
  yield Buffer.concat([encodeIndexHeader({ archiveId, size, ...counts }), archiveIdBytes(origins[0]!)]);
  const buffer = Buffer.alloc(SEGMENT_MAX);
  yield* rowSegments(buffer, origins.length - 1, ARCHIVE_ID_LENGTH, (from, count) => {
    for (let row = 0; row < count; row++) {
      archiveIdBytes(origins[1 + from + row]!).copy(buffer, row * ARCHIVE_ID_LENGTH);
    }
  });
  yield* rowSegments(buffer, frames.count, FRAME_ROW_LENGTH, (from, count) =>
    frames.encode(from, count, buffer, 0),
  );
  yield* rowSegments(buffer, extents.count, EXTENT_ROW_LENGTH, (from, count) =>
    extents.encode(from, count, buffer, 0),
  );
}

function* rowSegments(
  buffer: Buffer,
  total: number,
  rowLength: number,
  encode: (from: number, count: number) => void,
): Generator<Uint8Array, void, undefined> {
  const most = Math.floor(buffer.length / rowLength);
  for (let from = 0; from < total; from += most) {
    const count = Math.min(most, total - from);
    encode(from, count);
    yield buffer.subarray(0, count * rowLength);
  }
}
