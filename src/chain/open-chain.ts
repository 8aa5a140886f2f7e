import { type ArchiveReader, openArchive } from '../archive/v1/archive-reader.js';
import { DamagedError, NbdeltaError } from '../errors.js';
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

/**
 * Opens the archives of a chain, checks each against its manifest, and merges their maps.
 * @param links from the full to the wanted point, as `MachineStore.openChain` returns them.
 * @throws ChainError, DamagedError naming the point and the disk.
 */
export async function openChainArchives(
  machine: MachineStore,
  links: readonly ChainLink[],
): Promise<OpenChain> {
  const archives: ArchiveReader[] = [];
  try {
    for (const link of links) archives.push(await openLink(machine, link));
    const newest = links[links.length - 1]!;
    const size = newest.disk.size;
    const segments = mergeChain(
      archives.map(archive => archive.extents),
      size,
    );
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
