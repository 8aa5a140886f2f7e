import pLimit from 'p-limit';
import { type ArchiveReader, openArchive } from '../archive/v1/archive-reader.js';
import { AbortedError, DamagedError, NbdeltaError } from '../errors.js';
import type { ChainLink } from '../repository/chain.js';
import type { MachineStore } from '../repository/machine-store.js';
import { mergeChain } from './chain-map.js';
import type { SegmentTable } from './segment-table.js';

/** One disk of one point, with everything that is needed to read any byte of it. */
export interface OpenChain extends AsyncDisposable {
  readonly machine: string;
  readonly disk: string;
  /** Id of the point that the chain ends in. */
  readonly point: string;
  /** Size of the disk at that point. Bytes. */
  readonly size: number;
  /** Oldest first. */
  readonly links: readonly ChainLink[];
  readonly archives: readonly ArchiveReader[];
  /** Where each byte lies; what is in no segment reads as zero. */
  readonly segments: SegmentTable;
}

const ARCHIVES_AT_ONCE = 8;

/**
 * Opens the archives of a chain, checks each against its manifest, and merges their maps. The event loop gets its
 * turns meanwhile, also with a chain of millions of extents.
 * @param links from the full to the wanted point, as `MachineStore.openChain` returns them.
 * @throws ChainError, DamagedError naming the point and the disk; AbortedError.
 */
export async function openChainArchives(
  machine: MachineStore,
  links: readonly ChainLink[],
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<OpenChain> {
  const archives = await openLinks(machine, links, options.signal);
  try {
    const newest = links[links.length - 1]!;
    const { size } = newest.disk;
    const mapped = archives.map(archive => ({
      extents: archive.takeExtents(),
      frameCount: archive.frames.count,
    }));
    const segments = await mergeChain(mapped, size, options);
    return {
      machine: machine.name,
      disk: newest.disk.name,
      point: newest.point.id,
      size,
      links,
      archives,
      segments,
      [Symbol.asyncDispose]: () => closeAll(archives),
    };
  } catch (error) {
    await closeAll(archives);
    throw error;
  }
}

/** All links' archives in the same order, some of them opened at the same time: while one is read, another is decoded. */
async function openLinks(
  machine: MachineStore,
  links: readonly ChainLink[],
  signal: AbortSignal | undefined,
): Promise<ArchiveReader[]> {
  const limit = pLimit(ARCHIVES_AT_ONCE);
  let failed = false;
  const opening = links.map(link =>
    limit(async () => {
      if (signal?.aborted) throw new AbortedError('opening a chain', signal.reason);
      return failed ? undefined : await openLink(machine, link);
    }).catch(error => {
      failed = true;
      throw error;
    }),
  );
  const results = await Promise.allSettled(opening);
  const opened = results.flatMap(result => (result.status === 'fulfilled' && result.value) || []);
  const failure = results.find(result => result.status === 'rejected');
  if (failure === undefined) return opened;
  await closeAll(opened);
  throw failure.reason;
}

async function closeAll(archives: readonly ArchiveReader[]): Promise<void> {
  for (const archive of archives) await archive[Symbol.asyncDispose]();
}

async function openLink(machine: MachineStore, { point, disk }: ChainLink): Promise<ArchiveReader> {
  const { archive } = disk;
  try {
    return await openArchive({
      readVolume: volume => machine.openVolume(point.id, archive.volumes[volume - 1]!.name),
      volumes: archive.volumes.length,
      expected: {
        archiveId: archive.archiveId,
        indexSha256: archive.index.sha256,
        indexRawLength: archive.index.rawLength,
        frames: archive.frames,
        extents: archive.extents,
        disk: disk.name,
        size: disk.size,
        volumeBytes: archive.volumes.map(volume => volume.bytes),
      },
    });
  } catch (error) {
    throw nameLink(error, machine.name, point.id, disk.name);
  }
}

/** The same error, saying which point and disk it is about. */
export function nameLink(error: unknown, machine: string, point: string, disk: string): unknown {
  if (!(error instanceof NbdeltaError)) return error;
  const options = {
    cause: error,
    hint: error.hint ?? 'bring the file back from a copy of the repository, or use a point of another chain',
    fields: { ...error.fields, machine, point, disk },
  };
  const message = `point ${machine}@${point}, disk ${disk}: ${error.message}`;
  if (error instanceof DamagedError) return new DamagedError(message, options);
  return new NbdeltaError(error.code, message, options);
}
