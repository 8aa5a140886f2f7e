import type { MachineRecord } from './machine-record.js';
import type { Point } from './manifest.js';

/**
 * Ids of points that are none any more, although their folders may still be there: those that a readable point was
 * merged from, and those that are being removed. From the moment that a merged point is committed, a reader sees it
 * instead of what it was merged from.
 */
export function supersededIds(
  points: readonly Point[],
  record: Pick<MachineRecord, 'removing'> | null,
): ReadonlySet<string> {
  return new Set([...points.flatMap(point => point.manifest.replaces), ...(record?.removing ?? [])]);
}
