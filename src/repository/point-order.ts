import type { NbdeltaError } from '../errors.js';
import type { Point } from './manifest.js';
import { pointIdTime } from './point-id.js';

/**
 * Points in the order in which they stand for the guest: by `sequence`, never by clock. A merged point takes
 * the sequence of the newest point it replaces, and comes after that one.
 */
export function sortPoints(points: readonly Point[]): Point[] {
  return [...points].sort(
    (a, b) =>
      a.manifest.sequence - b.manifest.sequence ||
      mergeRank(a) - mergeRank(b) ||
      (a.manifest.id < b.manifest.id ? -1 : Number(a.manifest.id > b.manifest.id)),
  );
}

/** A point that was committed and cannot be used now. */
export interface UnreadablePoint {
  readonly id: string;
  readonly error: NbdeltaError;
  /** Known when the machine's record names the point. */
  readonly sequence?: number;
}

/**
 * The sequence of the machine's next point. Only under its lock.
 * @param given the highest that the machine's record knows of: a number is never given twice, also when the
 *   point that had it is gone.
 */
export function nextSequence(points: readonly Point[], given = 0): number {
  return points.reduce((highest, point) => Math.max(highest, point.manifest.sequence), given) + 1;
}

/** Points of chains: a copy stands outside, never has children and is never counted. */
export function chainPoints(points: readonly Point[]): Point[] {
  return sortPoints(points).filter(point => point.manifest.level !== 'copy');
}

/**
 * What `latest` means: the point with the highest sequence that is no copy. With several chains side by side
 * (a full starts a new one) it is the newest point of the newest chain.
 */
export function latestPoint(points: readonly Point[]): Point | undefined {
  return chainPoints(points).at(-1);
}

/**
 * Whether a point that cannot be read may have been taken after `point`. Its sequence tells, when that is known.
 * Otherwise: nothing readable builds on it, and by the time in its id, which is all there is to go by, it is
 * not older. Within one second either may be first.
 */
export function mayBeYounger(
  unreadable: Pick<UnreadablePoint, 'id' | 'sequence'>,
  point: Point,
  points: readonly Point[],
): boolean {
  const { id, sequence } = unreadable;
  if (sequence !== undefined) return sequence > point.manifest.sequence;
  const isParent = points.some(each => each.manifest.parent?.id === id);
  return !isParent && pointIdTime(id) >= pointIdTime(point.manifest.id);
}

function mergeRank(point: Point): number {
  return point.manifest.replaces.length > 0 ? 1 : 0;
}
