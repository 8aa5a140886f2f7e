import { parentPoint } from './chain.js';
import type { Manifest, Point, StoredDisk } from './manifest.js';
import { PointIndex } from './point-index.js';
import { sortPoints } from './point-order.js';

/** Points that nothing kept needs. */
export interface RemoveStep {
  readonly kind: 'remove';
  /** Ids, youngest first: what is left is whole at every instant. */
  readonly points: readonly string[];
  /** Bytes that go. */
  readonly frees: number;
}

/** Points that must go, and that a kept one needs: they are merged forward into it. */
export interface MergeStep {
  readonly kind: 'merge';
  /** Ids, oldest first, each the parent of the next; the last is the kept point, which the merged one stands for. */
  readonly points: readonly string[];
  /** Those of them that go with this step, oldest first: another point still builds on the others. */
  readonly replaces: readonly string[];
  /** Bytes that go, once the merged point is there. */
  readonly frees: number;
  /** Bytes of the merged point, at most. */
  readonly writes: number;
}

export type PruneStep = RemoveStep | MergeStep;

/** What has to be done so that only the kept points are left. */
export interface PrunePlan {
  /** In this order; after every one of them each kept point can be read. */
  readonly steps: readonly PruneStep[];
  /** By id: every point that the kept ones need, themselves included. */
  readonly needed: ReadonlySet<string>;
}

/**
 * Plans how to get rid of all points but the kept ones. What is not kept and needed by a kept point is merged into it;
 * where chains branch, into every one that needs it. Touches nothing.
 * @param kept ids.
 * @throws ChainError when what a kept point builds on is missing or not the right one.
 */
export function planPrune(points: readonly Point[], kept: ReadonlySet<string>): PrunePlan {
  const sorted = sortPoints(points);
  const index = new PointIndex(points);
  const paths = sorted.filter(point => kept.has(point.manifest.id)).map(point => pathTo(point, index, kept));
  const needed = new Set(paths.flat().map(point => point.manifest.id));
  const unneeded = sorted.filter(point => !needed.has(point.manifest.id)).reverse();
  const users = countUsers(paths);
  const merges = paths.filter(path => path.length > 1).map(path => planMerge(path, users));
  return { steps: [...planRemoval(unneeded), ...merges], needed };
}

/** A kept point and what it needs of those that go: back to the nearest kept one, which is not part of it. Oldest first. */
function pathTo(point: Point, index: PointIndex, kept: ReadonlySet<string>): Point[] {
  const path = [point];
  for (let at = point; at.manifest.parent !== null; path.push(at)) {
    at = parentPoint(index, at.manifest);
    if (kept.has(at.manifest.id)) break;
  }
  return path.reverse();
}

function planRemoval(youngestFirst: readonly Point[]): RemoveStep[] {
  if (youngestFirst.length === 0) return [];
  return [{ kind: 'remove', points: youngestFirst.map(idOf), frees: totalBytes(youngestFirst) }];
}

/** For every point on a path: the points next to it on all paths, which build on it. */
type Users = ReadonlyMap<string, Set<string>>;

function countUsers(paths: readonly (readonly Point[])[]): Users {
  const users = new Map<string, Set<string>>();
  for (const path of paths) {
    for (const [index, point] of path.entries()) {
      const known = users.get(idOf(point)) ?? new Set();
      const user = path[index + 1];
      if (user !== undefined) known.add(idOf(user));
      users.set(idOf(point), known);
    }
  }
  return users;
}

/** Also notes in `users` that what this merge replaces uses nothing any more. */
function planMerge(path: readonly Point[], users: Users): MergeStep {
  let first = path.length - 1;
  // The kept point always goes: the merged one stands for it, also for those that build on it.
  while (first > 0) {
    const before = users.get(idOf(path[first - 1]!));
    before?.delete(idOf(path[first]!));
    if (before?.size !== 0) break;
    first--;
  }
  const replaced = path.slice(first);
  return {
    kind: 'merge',
    points: path.map(idOf),
    replaces: replaced.map(idOf),
    frees: totalBytes(replaced),
    writes: mergedBytes(path),
  };
}

function idOf({ manifest }: Point): string {
  return manifest.id;
}

/** Bytes of a point's archives. */
export function archiveBytes({ disks }: Manifest): number {
  return disks.reduce((sum, disk) => sum + (disk.status === 'stored' ? volumeBytes(disk) : 0), 0);
}

function volumeBytes({ archive }: StoredDisk): number {
  return archive.volumes.reduce((sum, { bytes }) => sum + bytes, 0);
}

function totalBytes(points: readonly Point[]): number {
  return points.reduce((sum, { manifest }) => sum + archiveBytes(manifest), 0);
}

/** Bytes of a merged point, at most: what is overwritten later is not copied. */
function mergedBytes(path: readonly Point[]): number {
  const newest = path[path.length - 1]!.manifest;
  return newest.disks.reduce((sum, { name }) => sum + mergedDiskBytes(path, name), 0);
}

/** A disk that began anew with a full on the way needs nothing from before; one that failed has nothing. */
function mergedDiskBytes(path: readonly Point[], name: string): number {
  let sum = 0;
  for (const { manifest } of [...path].reverse()) {
    const disk = manifest.disks.find(entry => entry.name === name);
    if (disk?.status !== 'stored') break;
    sum += volumeBytes(disk);
    if (disk.archive.parentArchiveId === null) break;
  }
  return sum;
}
