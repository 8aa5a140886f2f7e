import { readableAncestry } from './chain.js';
import type { Point } from './manifest.js';
import { chainPoints } from './point-order.js';

/** A point that began a checkpoint, which is still worth something. */
export interface CheckpointPoint {
  readonly checkpoint: string;
  readonly point: Point;
}

/**
 * The checkpoints that the next point may be taken since, newest first: the newest point's, or one of those before it in
 * its chain, whose point is built on then. A differential builds on the newest full, and its checkpoint alone will do.
 */
export function baseCheckpoints(
  points: readonly Point[],
  level: 'incremental' | 'differential',
): readonly CheckpointPoint[] {
  const parent = chainPoints(points).findLast(
    point => level === 'incremental' || point.manifest.level === 'full',
  );
  if (parent === undefined) return [];
  const outdated = outdatedPoints(points);
  return readableAncestry(points, parent).flatMap(point => {
    const { id, checkpoint } = point.manifest;
    return checkpoint === null || outdated.has(id) ? [] : [{ checkpoint, point }];
  });
}

/**
 * Ids of points that a later one builds on which took no disk by its bitmap: what spoke against the bitmaps then speaks
 * against every one that began before.
 */
function outdatedPoints(points: readonly Point[]): ReadonlySet<string> {
  const outdated = new Set<string>();
  for (const point of chainPoints(points)) {
    if (point.manifest.disks.some(({ level, method }) => level !== 'full' && method !== 'rescan')) continue;
    for (const before of readableAncestry(points, point).slice(1)) {
      if (outdated.has(before.manifest.id)) break;
      outdated.add(before.manifest.id);
    }
  }
  return outdated;
}

/**
 * The checkpoints that must stay: the newest one that an incremental can be taken since, and the newest full's,
 * for a differential. Every one more costs the guest a bit on each write.
 */
export function neededCheckpoints(points: readonly Point[]): readonly CheckpointPoint[] {
  const needed = [baseCheckpoints(points, 'incremental')[0], baseCheckpoints(points, 'differential')[0]];
  const byName = new Map(needed.flatMap(entry => (entry === undefined ? [] : [[entry.checkpoint, entry]])));
  return [...byName.values()];
}
