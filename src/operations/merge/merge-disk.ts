import { type ArchiveSummary, openArchiveWriter } from '../../archive/v1/archive-writer.js';
import { openChainArchives } from '../../chain/open-chain.js';
import { type CodecSpec, parseCodec } from '../../codec/codec-spec.js';
import { openFramePool } from '../../codec/frame-pool.js';
import type { ChainLink } from '../../repository/chain.js';
import type { MachineStore } from '../../repository/machine-store.js';
import type { ArchiveEntry, StoredDisk } from '../../repository/manifest.js';
import type { PointWriter } from '../../repository/point-writer.js';
import { volumeName } from '../backup-disk.js';
import type { ProgressListener } from '../progress.js';
import { checkMerged } from './check-merged.js';
import { type MergedFrames, writeMerged } from './write-merged.js';

export interface MergeDiskOptions {
  readonly machine: MachineStore;
  /** The archives to be merged, oldest first. */
  readonly links: readonly ChainLink[];
  /** The archive that the merged one builds on; `null`: it is a full. */
  readonly parentArchiveId: string | null;
  readonly archiveId: string;
  readonly point: PointWriter;
  readonly threads?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ProgressListener | undefined;
}

export interface MergedDisk {
  readonly archive: ArchiveEntry;
  readonly frames: MergedFrames;
}

/** Writes one disk of a merged point, and checks it against what it was merged from. */
export async function mergeDisk(options: MergeDiskOptions): Promise<MergedDisk> {
  const { machine, links, archiveId, parentArchiveId, point, threads, signal, onProgress } = options;
  const { name, size, archive: newest } = links.at(-1)!.disk;
  const codec = parseCodec(newest.codec);
  const frameSize = Math.max(...links.map(link => link.disk.archive.frameSize));
  await using chain = await openChainArchives(machine, links, { signal });
  await using pool = openFramePool({ codec, ...(threads !== undefined && { threads }) });
  await using writer = await openArchiveWriter({
    ...{ archiveId, parentArchiveId, disk: name, size, frameSize, codec },
    openVolume: volume => point.resumeVolume(volumeName(name, volume), () => signal?.aborted === true),
  });
  const frames = await writeMerged({
    ...{ chain, writer, pool, frameSize, signal },
    onProgress: done => onProgress?.({ phase: 'data', disk: name, done, total: size }),
  });
  onProgress?.({ phase: 'finish', disk: name, done: size, total: size });
  const archive = archiveEntry(name, await writer.finish(), { parentArchiveId, codec, frameSize });
  const merged = mergedLink(links.at(-1)!, point.id, archive);
  await using written = await openChainArchives(machine, [merged]);
  await checkMerged(chain, written, { pool, isFull: parentArchiveId === null, signal });
  return { archive, frames };
}

function archiveEntry(
  disk: string,
  { volumes, ...summary }: ArchiveSummary,
  {
    parentArchiveId,
    codec,
    frameSize,
  }: Pick<ArchiveEntry, 'parentArchiveId' | 'frameSize'> & { codec: CodecSpec },
): ArchiveEntry {
  return {
    ...{ ...summary, parentArchiveId, codec: codec.text, frameSize },
    volumes: volumes.map(({ volume, bytes }) => ({ name: volumeName(disk, volume), bytes })),
  };
}

/** The archive that was written, as a chain of its own: the point is not committed yet. */
function mergedLink({ point, disk }: ChainLink, id: string, archive: ArchiveEntry): ChainLink {
  const written: StoredDisk = { ...disk, archive };
  return { point: { ...point, id }, disk: written };
}
