import type { OpenChain } from '../chain/open-chain.js';
import { pointDifference } from '../chain/point-difference.js';
import { UsageError } from '../errors.js';
import type { ExtentList } from '../extents/extent-list.js';
import type { Manifest } from '../repository/manifest.js';
import type { HeldForReading, Repository } from '../repository/repository.js';
import { AsyncStack } from './async-stack.js';
import { openHeldDisk } from './open-held-disk.js';

/** A disk of a point, ready to be served. */
export interface OpenDisk {
  readonly chain: OpenChain;
  /** By the id of an earlier point. */
  readonly changes: Readonly<Record<string, ExtentList>>;
}

/** Disks to be served: the one that is wanted, or all that the point has. */
export function diskNames({ id, disks }: Manifest, wanted: string | undefined): readonly string[] {
  if (wanted !== undefined) return [wanted];
  const stored = disks.filter(disk => disk.status === 'stored').map(disk => disk.name);
  if (stored.length === 0) throw new UsageError(`point ${id} has no stored disk`);
  return stored;
}

/** The points that changes are told since: needed only until their maps were compared. */
export async function holdBases(
  repository: Repository,
  { machine }: HeldForReading,
  since: readonly string[],
): Promise<AsyncDisposable & { readonly points: readonly HeldForReading[] }> {
  const stack = new AsyncStack();
  const points: HeldForReading[] = [];
  try {
    for (const text of since)
      points.push(stack.use(await repository.hold(`${machine.name}@${text}`, 'serve')));
  } catch (error) {
    await stack[Symbol.asyncDispose]();
    throw error;
  }
  return { points, [Symbol.asyncDispose]: () => stack[Symbol.asyncDispose]() };
}

/** A disk that an earlier point does not have gets no bitmap of it: all of it is new. */
export async function changesSince(
  bases: readonly HeldForReading[],
  chain: OpenChain,
): Promise<OpenDisk['changes']> {
  const changes: Record<string, ExtentList> = {};
  for (const base of bases) {
    const { id, disks } = base.point.manifest;
    if (!disks.some(disk => disk.name === chain.disk && disk.status === 'stored')) continue;
    await using older = await openHeldDisk(base, chain.disk);
    changes[id] = pointDifference(older, chain);
  }
  return changes;
}
