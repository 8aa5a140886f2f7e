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
  return readableAncestry(points, parent).flatMap(point =>
    point.manifest.checkpoint === null ? [] : [{ checkpoint: point.manifest.checkpoint, point }],
  );
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
