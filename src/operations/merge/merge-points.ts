import { AbortedError } from '../../errors.js';
import type { ChainLink } from '../../repository/chain.js';
import type { MachineLock } from '../../repository/lock.js';
import { type MachineStore, RESUME_NAME } from '../../repository/machine-store.js';
import type { DiskEntry, Point, StoredDisk } from '../../repository/manifest.js';
import type { MergePath } from '../../repository/merge-path.js';
import { PointIndex } from '../../repository/point-index.js';
import type { PointWriter } from '../../repository/point-writer.js';
import type { ProgressListener } from '../progress.js';
import { mergeDisk } from './merge-disk.js';
import { openMergedFolder } from './merge-journal.js';
import { mergedManifest } from './merged-manifest.js';
import type { MergedFrames } from './write-merged.js';

export interface MergePointsOptions {
  readonly machine: MachineStore;
  readonly lock: MachineLock;
  /** All points of the machine. */
  readonly points: readonly Point[];
  readonly path: MergePath;
  /** Whether the merged point is to hold everything that came before the path as well. */
  readonly intoFull: boolean;
  readonly threads?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ProgressListener | undefined;
}

/** The merged point, and how its frames came there. */
export interface MergedPoint extends MergedFrames {
  readonly point: Point;
}

const NOTHING: MergedFrames = { copiedFrames: 0, copiedBytes: 0, repackedFrames: 0, repackedBytes: 0 };

/** A disk of the merged point before it is written. */
interface DiskMerge {
  readonly entry: StoredDisk;
  readonly links: readonly ChainLink[];
  readonly parentArchiveId: string | null;
}

/**
 * Makes and commits the merged point; from then on nobody sees what it replaces. Removing that is the next step, for
 * whoever holds the lock: see `MachineStore.removePoints`.
 */
export async function mergePoints(options: MergePointsOptions): Promise<MergedPoint> {
  const { machine, lock, path, signal } = options;
  const startedAt = new Date();
  const plans = await planDisks(options);
  const { writer: folder, archives } = await openMergedFolder(options);
  await using writer = folder;
  try {
    const { disks, frames } = await writeDisks(options, plans, archives, writer);
    await copyFiles(options, writer);
    await machine.copyPin(lock, path.points.at(-1)!.manifest.id, writer.id);
    const parent = parentOf(options, disks);
    const manifest = mergedManifest({
      ...{ id: writer.id, startedAt, points: path.points, replaced: path.replaced, parent, disks },
      readBytes: frames.copiedBytes,
    });
    await writer.dropFile(RESUME_NAME);
    return { point: await writer.commit(manifest), ...frames };
  } catch (error) {
    // Stopped on request: the same merge goes on from here. Anything else could fail again in the same place.
    if (!signal?.aborted) throw error;
    writer.suspend();
    const left = `the unfinished point ${writer.id} was left: the same merge goes on with it, another one removes it`;
    throw new AbortedError('merge', error, left);
  }
}

async function writeDisks(
  options: MergePointsOptions,
  plans: readonly (DiskMerge | null)[],
  archives: Readonly<Record<string, string>>,
  writer: PointWriter,
): Promise<{ readonly disks: readonly DiskEntry[]; readonly frames: MergedFrames }> {
  const before = options.path.points.at(-1)!.manifest.disks;
  const disks: DiskEntry[] = [];
  let frames = NOTHING;
  for (const [index, plan] of plans.entries()) {
    if (plan === null) {
      disks.push(before[index]!);
      continue;
    }
    const archiveId = archives[plan.entry.name]!;
    const merged = await mergeDisk({ ...options, ...plan, archiveId, point: writer });
    frames = sumOf(frames, merged.frames);
    disks.push(diskEntry(plan, merged.archive, options));
  }
  return { disks, frames };
}

/** `null`: a disk that failed in the newest point. */
async function planDisks({
  machine,
  points,
  path,
  intoFull,
}: MergePointsOptions): Promise<(DiskMerge | null)[]> {
  const inPath = new Set(path.points.map(point => point.manifest.id));
  const newest = path.points.at(-1)!.manifest;
  const plans: (DiskMerge | null)[] = [];
  for (const entry of newest.disks) {
    if (entry.status !== 'stored') {
      plans.push(null);
      continue;
    }
    const links = await machine.openChain(points, newest.id, entry.name);
    const first = intoFull ? 0 : links.findIndex(link => inPath.has(link.point.id));
    const parentArchiveId = links[first - 1]?.disk.archive.archiveId ?? null;
    plans.push({ entry, links: links.slice(first), parentArchiveId });
  }
  return plans;
}

function diskEntry(
  { entry, links, parentArchiveId }: DiskMerge,
  archive: StoredDisk['archive'],
  { path }: MergePointsOptions,
): StoredDisk {
  const readBytes = links.reduce((sum, link) => sum + link.disk.readBytes, 0);
  const oldest = path.points[0]!.manifest.level;
  if (parentArchiveId !== null) {
    const level = oldest === 'differential' ? 'differential' : 'incremental';
    return { ...entry, level, method: mergedMethod(links), reason: null, readBytes, archive };
  }
  const { method: _, ...rest } = entry;
  return { ...rest, level: 'full', reason: links[0]!.disk.reason, bitmap: null, readBytes, archive };
}

/** What spoke against the bitmap in one of the points still does: one from before them must not be believed. */
function mergedMethod(links: readonly ChainLink[]): 'bitmap' | 'rescan' {
  return links.some(({ disk }) => disk.method === 'rescan') ? 'rescan' : 'bitmap';
}

/** `null` when no disk needs one. */
function parentOf({ points, path }: MergePointsOptions, disks: readonly DiskEntry[]): Point | null {
  const reference = path.points[0]!.manifest.parent;
  const isDelta = disks.some(disk => disk.status === 'stored' && disk.level !== 'full');
  return isDelta && reference !== null ? (new PointIndex(points).parent(reference) ?? null) : null;
}

/** What defines the guest, as the newest point has it; each file is checked on the way. */
async function copyFiles({ machine, path }: MergePointsOptions, writer: PointWriter): Promise<void> {
  const newest = path.points.at(-1)!;
  for (const { name } of newest.manifest.files) {
    const bytes = await machine.readPointFile(newest, name);
    if (bytes !== undefined) await writer.putFile(name, bytes);
  }
}

function sumOf(a: MergedFrames, b: MergedFrames): MergedFrames {
  return {
    copiedFrames: a.copiedFrames + b.copiedFrames,
    copiedBytes: a.copiedBytes + b.copiedBytes,
    repackedFrames: a.repackedFrames + b.repackedFrames,
    repackedBytes: a.repackedBytes + b.repackedBytes,
  };
}
