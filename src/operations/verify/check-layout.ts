import type { ArchiveHeader } from '../../archive/v1/archive-header.js';
import type { ArchiveReader, VolumeReader } from '../../archive/v1/archive-reader.js';
import { PACK_MAX_EXTENTS, PACK_MAX_FRAMES, TAR_BLOCK } from '../../archive/v1/format-limits.js';
import { decodePackTable, packTableLength } from '../../archive/v1/pack-table.js';
import { decodeTarHeader, TAR_END, tarMemberLength } from '../../archive/v1/tar-member.js';
import { DamagedError } from '../../errors.js';
import type { StoredDisk } from '../../repository/manifest.js';

/** Longest pack table that is accepted: 16 frames, twice 65,536 extents. Bounds what a damaged file makes us read. */
const LONGEST_TABLE = packTableLength(PACK_MAX_FRAMES, 2 * PACK_MAX_EXTENTS);

interface Member {
  readonly name: string;
  readonly offset: number;
  readonly size: number;
}

/**
 * Checks of one volume what a restore never looks at, but `tar`, `zstd` and a salvage need: every tar header and
 * padding, and every pack's table. Reads no frame.
 * @throws DamagedError naming the volume and the byte.
 */
export async function checkLayout(
  reader: VolumeReader,
  volume: number,
  archive: ArchiveReader,
): Promise<void> {
  let frame = firstFrameOf(volume, archive);
  for await (const member of walkMembers(reader, volume)) {
    if (member.name.startsWith('data/')) frame = await checkPack(reader, volume, member, archive, frame);
  }
}

function firstFrameOf(volume: number, { frames }: ArchiveReader): number {
  let frame = 0;
  while (frame < frames.count && frames.volumeAt(frame) < volume) frame++;
  return frame;
}

async function* walkMembers(reader: VolumeReader, volume: number): AsyncGenerator<Member> {
  const end = reader.size - TAR_END.length;
  let at = 0;
  while (at < end) {
    const header = decodeTarHeader(await readBlock(reader, at, TAR_BLOCK));
    const length = header && tarMemberLength(header.size);
    if (header === null || length === null || at + length > end)
      throw damaged(volume, at, 'is no tar header');
    const offset = at + TAR_BLOCK;
    const padding = await readBlock(reader, offset + header.size, length - TAR_BLOCK - header.size);
    if (!isZero(padding)) throw damaged(volume, offset + header.size, 'is no padding');
    yield { name: header.name, offset, size: header.size };
    at += length;
  }
  if (!isZero(await readBlock(reader, end, TAR_END.length))) throw damaged(volume, end, 'is no end of a tar');
}

/** A pack is its frames, one after another, and its table. @returns the first frame behind it. */
async function checkPack(
  reader: VolumeReader,
  volume: number,
  member: Member,
  { archiveId, frames }: ArchiveReader,
  first: number,
): Promise<number> {
  const end = member.offset + member.size;
  let at = member.offset;
  let frame = first;
  for (; frame < frames.count && frames.volumeAt(frame) === volume && frames.offsetAt(frame) < end; frame++) {
    if (frames.offsetAt(frame) !== at) throw damaged(volume, at, `should be frame ${frame}`);
    at += frames.storedLengthAt(frame);
  }
  if (at >= end || end - at > LONGEST_TABLE) throw damaged(volume, at, `is no table of pack ${member.name}`);
  const table = await readTable(reader, volume, at, end - at);
  const isOurs =
    table.archiveId === archiveId && table.firstFrame === first && table.frames.count === frame - first;
  if (!isOurs) throw damaged(volume, at, `is the table of another pack than ${member.name}`);
  return frame;
}

async function readTable(reader: VolumeReader, volume: number, at: number, length: number) {
  try {
    return decodePackTable(await readBlock(reader, at, length));
  } catch (error) {
    if (!(error instanceof DamagedError)) throw error;
    throw damaged(volume, at, `is no pack table: ${error.message}`, error);
  }
}

async function readBlock(reader: VolumeReader, offset: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  if (length > 0) await reader.read(offset, bytes);
  return bytes;
}

function isZero(bytes: Buffer): boolean {
  return bytes.every(byte => byte === 0);
}

function damaged(volume: number, at: number, what: string, cause?: unknown): DamagedError {
  return new DamagedError(`archive volume ${volume}: what is at byte ${at} ${what}`, {
    cause,
    hint: 'disks can be restored while their frames are whole; bring the file back from a copy of the repository',
    fields: { volume, at },
  });
}

/** Whether a volume's header says what the manifest says. @throws DamagedError */
export function checkHeader(header: ArchiveHeader, { name, size, archive }: StoredDisk): void {
  const { parentArchiveId, frameSize, codec } = archive;
  const expected = { disk: name, size, parentArchiveId, frameSize, codec };
  for (const [field, value] of Object.entries(expected)) {
    const seen = header[field as keyof typeof expected];
    if (seen === value) continue;
    throw new DamagedError(
      `archive volume ${header.volume}: its header says ${field} ${seen}, expected ${value}`,
    );
  }
}
