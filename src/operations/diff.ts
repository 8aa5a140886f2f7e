import { ChainReader } from '../chain/chain-reader.js';
import type { OpenChain } from '../chain/open-chain.js';
import { pointDifference } from '../chain/point-difference.js';
import type { FramePool } from '../codec/frame-pool.js';
import { RepositoryError, UsageError } from '../errors.js';
import { ExtentKind, type ExtentList } from '../extents/extent-list.js';
import type { HeldForReading, Repository } from '../repository/repository.js';
import { differingRanges } from './differing-ranges.js';
import { type PictureCell, paintDisk } from './disk-picture.js';
import { type NamedExtent, nameExtents } from './named-extents.js';
import { openHeldDisk } from './open-held-disk.js';
import { useRepository } from './open-repository.js';
import type { ProgressListener } from './progress.js';
import { openReadingPool } from './reading-pool.js';

export interface DiffOptions {
  readonly repository: string | Repository;
  /** `MACHINE@POINT`, both of the same machine. */
  readonly from: string;
  readonly to: string;
  readonly disk?: string | undefined;
  /** Reads what may differ on both sides, and tells only what does. */
  readonly content?: boolean | undefined;
  readonly threads?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ProgressListener | undefined;
}

/** What changed of a disk. Bytes. */
export interface DiskDifference {
  readonly disk: string;
  /** `null`: the point does not have the disk. */
  readonly sizes: { readonly from: number | null; readonly to: number | null };
  readonly totals: { readonly data: number; readonly zero: number; readonly unchanged: number };
  readonly count: number;
  /** Ascending, inside `sizes.to`; the kinds are those of `to`. What is in no extent is the same. */
  extents(): Iterable<NamedExtent>;
  /** Where on the disk they lie. */
  picture(cells: number): PictureCell[];
}

export interface PointsDifference {
  readonly machine: string;
  readonly from: string;
  readonly to: string;
  /** Whether the bytes were compared; otherwise an extent may have been stored again with what it had. */
  readonly content: boolean;
  readonly disks: readonly DiskDifference[];
}

/**
 * What changed between two points of a machine, of whatever chains, in either order. Without `content` the indexes alone tell,
 * and no data is read.
 * @throws UsageError; RepositoryError DISK_UNKNOWN when neither point has the disk.
 */
export async function diffPoints(options: DiffOptions): Promise<PointsDifference> {
  const repository = await useRepository(options.repository);
  await using from = await repository.hold(options.from, 'diff');
  await using to = await repository.hold(options.to, 'diff');
  const machine = to.machine.name;
  if (from.machine.name !== machine) {
    throw new UsageError(`${from.machine.name} and ${machine} are two machines, expected two points of one`);
  }
  await using pool = openReadingPool(options.threads);
  const disks: DiskDifference[] = [];
  for (const disk of diskNames(from, to, options.disk))
    disks.push(await diffDisk(from, to, disk, pool, options));
  const [older, newer] = [from.point.manifest.id, to.point.manifest.id];
  return { machine, from: older, to: newer, content: options.content === true, disks };
}

function diskNames(from: HeldForReading, to: HeldForReading, wanted: string | undefined): readonly string[] {
  const names = [from, to].flatMap(({ point }) =>
    point.manifest.disks.filter(disk => disk.status === 'stored').map(disk => disk.name),
  );
  const all = [...new Set(names)];
  if (wanted === undefined) return all;
  if (all.includes(wanted)) return [wanted];
  throw new RepositoryError('DISK_UNKNOWN', `neither point has a disk ${wanted}`, {
    hint: `they have: ${all.join(', ')}`,
    fields: { disk: wanted, disks: all },
  });
}

async function diffDisk(
  from: HeldForReading,
  to: HeldForReading,
  disk: string,
  pool: FramePool,
  options: DiffOptions,
): Promise<DiskDifference> {
  await using older = await openDisk(from, disk);
  await using newer = await openDisk(to, disk);
  const [before, after] = [older.chain, newer.chain];
  const sizes = { from: before?.size ?? null, to: after?.size ?? null };
  if (before === null || after === null) return describe(disk, sizes, null);
  const mayDiffer = pointDifference(before, after);
  if (!options.content) return describe(disk, sizes, mayDiffer);
  const readers = [new ChainReader(before, { pool }), new ChainReader(after, { pool })] as const;
  const onProgress = (done: number, total: number) =>
    options.onProgress?.({ phase: 'data', disk, done, total });
  return describe(disk, sizes, await differingRanges(...readers, mayDiffer, { ...options, onProgress }));
}

async function openDisk(
  held: HeldForReading,
  disk: string,
): Promise<AsyncDisposable & { readonly chain: OpenChain | null }> {
  const hasDisk = held.point.manifest.disks.some(each => each.name === disk && each.status === 'stored');
  if (!hasDisk) return { chain: null, [Symbol.asyncDispose]: async () => undefined };
  const chain = await openHeldDisk(held, disk);
  return { chain, [Symbol.asyncDispose]: () => chain[Symbol.asyncDispose]() };
}

function describe(disk: string, sizes: DiskDifference['sizes'], changed: ExtentList | null): DiskDifference {
  const size = sizes.to ?? 0;
  const [data, zero] = [changed?.total(ExtentKind.data) ?? 0, changed?.total(ExtentKind.zero) ?? 0];
  return {
    ...{ disk, sizes, count: changed?.count ?? 0 },
    totals: { data, zero, unchanged: changed === null ? 0 : size - data - zero },
    extents: () => nameExtents(changed ?? []),
    picture: cells => paintDisk(changed ?? [], size, cells),
  };
}
