import { ChainError, UsageError } from '../errors.js';
import { ancestryOf } from './chain.js';
import type { Point } from './manifest.js';
import { PointIndex } from './point-index.js';

/** A point that a merge leaves where it is, with the reason. */
export interface StayingPoint {
  readonly id: string;
  readonly why: string;
}

/** What a merge makes one point of. */
export interface MergePath {
  /** Oldest first, each the parent of the next; the merged point stands for the last one. */
  readonly points: readonly Point[];
  /** Ids of those that are none any more when the merge is done. */
  readonly replaced: readonly string[];
  readonly staying: readonly StayingPoint[];
}

/**
 * The points from `from` to `to`, and which of them can go. The newest always goes, for the merged point stands for it; one before
 * it stays when a point outside of the path builds on it, and then what it builds on stays as well.
 * @param pinned ids that must stay.
 * @throws ChainError CHAIN_ORDER when `from` is not before `to` in one chain; UsageError.
 */
export function planMergePath(
  points: readonly Point[],
  from: Point,
  to: Point,
  pinned: ReadonlySet<string> = new Set(),
): MergePath {
  const path = pathBetween(points, from, to);
  const needed = new Map<string, string>();
  const index = new PointIndex(points);
  const inPath = new Set(path.map(point => point.manifest.id));
  const newest = to.manifest.id;
  for (const { manifest } of points) {
    if (manifest.parent === null || inPath.has(manifest.id)) continue;
    const parent = index.parent(manifest.parent)?.manifest.id;
    if (parent !== undefined && parent !== newest && inPath.has(parent)) {
      needed.set(parent, `point ${manifest.id} builds on it`);
    }
  }
  for (const id of pinned) if (inPath.has(id) && id !== newest) needed.set(id, 'it is pinned');
  const staying = stayingOf(path.slice(0, -1), needed);
  const ids = new Set(staying.map(point => point.id));
  return { points: path, replaced: [...inPath].filter(id => !ids.has(id)), staying };
}

/** Youngest first: a point that stays needs everything before it. */
function stayingOf(path: readonly Point[], needed: ReadonlyMap<string, string>): StayingPoint[] {
  const staying: StayingPoint[] = [];
  for (const { manifest } of path.toReversed()) {
    const why =
      needed.get(manifest.id) ?? (staying[0] && `point ${staying[0].id}, which stays, builds on it`);
    if (why !== undefined) staying.unshift({ id: manifest.id, why });
  }
  return staying;
}

function pathBetween(points: readonly Point[], from: Point, to: Point): Point[] {
  const copy = [from, to].find(point => point.manifest.level === 'copy');
  if (copy !== undefined) {
    throw new UsageError(`point ${copy.manifest.id} is a copy: it stands outside of every chain`, {
      hint: 'Name points of one chain; `nbdelta list` shows which build on which.',
    });
  }
  const ancestry = ancestryOf(points, to);
  const position = ancestry.findIndex(point => point.manifest.id === from.manifest.id);
  if (position >= 0) return ancestry.slice(0, position + 1).reverse();
  const base = ancestry.at(-1)!.manifest.id;
  throw new ChainError(
    'CHAIN_ORDER',
    `point ${from.manifest.id} is not before point ${to.manifest.id} in its chain, which begins with ${base}`,
    { hint: 'Merge within one chain: a full begins a new one. `nbdelta list` shows them.' },
  );
}
