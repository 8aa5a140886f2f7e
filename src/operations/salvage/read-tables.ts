import {
  type ArchiveHeader,
  decodeArchiveHeader,
  HEADER_MAX_LENGTH,
  HEADER_MEMBER,
} from '../../archive/v1/archive-header.js';
import { openArchive } from '../../archive/v1/archive-reader.js';
import { ExtentTable } from '../../archive/v1/extent-table.js';
import { MAX_DISK_SIZE, TAR_BLOCK } from '../../archive/v1/format-limits.js';
import { type FoundTable, findPackTables } from '../../archive/v1/pack-scan.js';
import { decodeTarHeader } from '../../archive/v1/tar-member.js';
import { DamagedError, NbdeltaError } from '../../errors.js';
import type { VolumeReader } from '../../repository/storage-backend.js';
import { KnownFrames } from './known-frames.js';

/** What is known of an archive from what is left of it. */
export interface SalvageTables {
  readonly archiveId: string;
  readonly header: ArchiveHeader | null;
  /** Size of the disk, as far as it is known. Bytes. */
  readonly size: number;
  /** `index`: everything that there was is known; `packs`: only what was found. */
  readonly from: 'index' | 'packs';
  readonly frames: KnownFrames;
  readonly extents: ExtentTable;
  /** Packs before the last one found that were not found. */
  readonly missingPacks: readonly number[];
  /** Tables of other archives that were passed over. */
  readonly foreign: number;
}

/**
 * Reads the tables of an archive: its index when that is whole, else what the packs themselves say.
 * @throws DamagedError when nothing of an archive is found.
 */
export async function readSalvageTables(files: readonly VolumeReader[]): Promise<SalvageTables> {
  const headers = await Promise.all(files.map(readHeader));
  return (await fromIndex(files, headers)) ?? (await fromPacks(files, headers));
}

async function fromIndex(
  files: readonly VolumeReader[],
  headers: readonly (ArchiveHeader | null)[],
): Promise<SalvageTables | null> {
  const isWhole = headers.every((header, index) => header !== null && header.volume === index + 1);
  if (!isWhole) return null;
  try {
    const archive = await openArchive({
      // It closes what it opens; the files are their owner's.
      readVolume: async volume => ({ ...borrowed(files[volume - 1]!), close: async () => undefined }),
      volumes: files.length,
    });
    const frames = new KnownFrames();
    frames.addIndex(archive.frames);
    const { archiveId, size, extents } = archive;
    return {
      archiveId,
      header: headers[0]!,
      size,
      from: 'index',
      frames,
      extents,
      missingPacks: [],
      foreign: 0,
    };
  } catch (error) {
    // Whatever is wrong with the index, the packs may still tell.
    if (error instanceof NbdeltaError && error.code !== 'INTERNAL') return null;
    throw error;
  }
}

function borrowed(file: VolumeReader): Pick<VolumeReader, 'size' | 'read'> {
  return { size: file.size, read: (offset, into) => file.read(offset, into) };
}

async function fromPacks(
  files: readonly VolumeReader[],
  headers: readonly (ArchiveHeader | null)[],
): Promise<SalvageTables> {
  const header = headers.find(each => each !== null) ?? null;
  const archiveId = header?.archiveId ?? (await mostFrequentId(files));
  if (archiveId === undefined) {
    throw new DamagedError('nothing of an archive was found: no header, no index, no pack', {
      hint: 'give the .tar files of one disk of one point',
    });
  }
  const collected = new Collection(archiveId, header?.size ?? MAX_DISK_SIZE);
  for (const [index, file] of files.entries()) {
    for await (const found of findPackTables(file)) collected.add(found, index);
  }
  const { frames, extents, end, foreign } = collected;
  const size = header?.size ?? end;
  return {
    archiveId,
    header,
    size,
    from: 'packs',
    frames,
    extents,
    missingPacks: collected.missing(),
    foreign,
  };
}

/** Without any header the archive is the one that most packs belong to: a disk may hold archives itself. */
async function mostFrequentId(files: readonly VolumeReader[]): Promise<string | undefined> {
  const counts = new Map<string, number>();
  for (const file of files) {
    for await (const { table } of findPackTables(file)) {
      counts.set(table.archiveId, (counts.get(table.archiveId) ?? 0) + 1);
    }
  }
  return [...counts].sort((a, b) => b[1] - a[1])[0]?.[0];
}

class Collection {
  readonly frames = new KnownFrames();
  readonly extents = new ExtentTable();
  readonly #archiveId: string;
  readonly #limit: number;
  readonly #packs = new Set<number>();
  foreign = 0;
  /** End of the last extent. */
  end = 0;

  constructor(archiveId: string, limit: number) {
    this.#archiveId = archiveId;
    this.#limit = limit;
  }

  add(found: FoundTable, file: number): void {
    const { table } = found;
    if (table.archiveId !== this.#archiveId) {
      this.foreign++;
      return;
    }
    if (this.#packs.has(table.pack)) return;
    this.#packs.add(table.pack);
    this.frames.addPack(found, file);
    for (let row = 0; row < table.extents.count; row++) this.#addExtent(table.extents, row);
  }

  #addExtent(extents: ExtentTable, row: number): void {
    const [offset, length] = [extents.offsetAt(row), extents.lengthAt(row)];
    if (offset + length > this.#limit) return;
    if (extents.isZeroAt(row)) this.extents.appendZero(offset, length);
    else this.extents.append(offset, length, extents.frameAt(row), extents.withinAt(row));
    this.end = Math.max(this.end, offset + length);
  }

  missing(): number[] {
    const last = Math.max(0, ...this.#packs);
    const missing: number[] = [];
    for (let pack = 1; pack < last && missing.length < 10_000; pack++)
      if (!this.#packs.has(pack)) missing.push(pack);
    return missing;
  }
}

async function readHeader(file: VolumeReader): Promise<ArchiveHeader | null> {
  if (file.size < TAR_BLOCK) return null;
  const block = Buffer.alloc(TAR_BLOCK);
  await file.read(0, block);
  const member = decodeTarHeader(block);
  const isOurs = member !== null && member.name === HEADER_MEMBER && member.size <= HEADER_MAX_LENGTH;
  if (!isOurs || TAR_BLOCK + member.size > file.size) return null;
  const content = Buffer.alloc(member.size);
  await file.read(TAR_BLOCK, content);
  try {
    return decodeArchiveHeader(content);
  } catch (error) {
    if (error instanceof NbdeltaError && error.code === 'CHAIN_TORN') return null;
    throw error;
  }
}
