import { ChainError } from '../errors.js';
import type { ChainLink } from './chain.js';
import { inParallel } from './in-parallel.js';
import type { Manifest } from './manifest.js';
import type { StorageBackend } from './storage-backend.js';

/**
 * Whether every volume of a chain is there with the size its manifest says. Cheap: it reads folders, no data.
 * @throws ChainError CHAIN_TORN, naming point, file, and the bytes seen and expected.
 */
export async function checkVolumes(
  backend: StorageBackend,
  machine: string,
  chain: readonly ChainLink[],
): Promise<void> {
  await inParallel(chain, ({ point, disk }) =>
    checkPointVolumes(backend, `${machine}/${point.id}`, { id: point.id, disks: [disk] }),
  );
}

/** The same for all disks of one point, whose folder is given. */
export async function checkPointVolumes(
  backend: StorageBackend,
  folder: string,
  point: Pick<Manifest, 'id' | 'disks'>,
): Promise<void> {
  const entries = await backend.list(folder, { sizes: true });
  const sizes = new Map(entries.flatMap(({ kind, name, bytes }) => (kind === 'file' ? [[name, bytes]] : [])));
  for (const disk of point.disks) {
    const volumes = disk.status === 'stored' ? disk.archive.volumes : [];
    for (const { name, bytes } of volumes) checkVolume(point.id, name, bytes, sizes.get(name));
  }
}

function checkVolume(point: string, name: string, expected: number, seen: number | undefined): void {
  if (seen === expected) return;
  const what = seen === undefined ? 'is missing' : `has ${seen} bytes`;
  throw new ChainError('CHAIN_TORN', `volume ${name} of point ${point} ${what}, expected ${expected} bytes`, {
    hint: 'Bring the file back from a copy of the repository, or use a point that does not build on this one.',
    fields: { point, file: name, expected, seen: seen ?? null },
  });
}
