import { ChainError, DamagedError } from '../../errors.js';
import type { Point } from '../../repository/manifest.js';
import { sortPoints } from '../../repository/point-order.js';

/** What a copy has to do, in this order: at every instant the target's chains are whole. */
export interface CopyPlan {
  readonly missing: readonly Point[];
  /** Ids that the target has already, or has merged into another point. */
  readonly present: readonly string[];
}

/**
 * Which points the target lacks.
 * @throws ChainError CHAIN_FOREIGN when the target has other points in the place of some: it went its own way.
 */
export function planCopy(wanted: readonly Point[], target: readonly Point[]): CopyPlan {
  const there = new Map(target.map(point => [point.manifest.id, point]));
  const merged = new Set(target.flatMap(point => point.manifest.replaces));
  const missing: Point[] = [];
  const present: string[] = [];
  for (const point of sortPoints(wanted)) {
    const { id } = point.manifest;
    const same = there.get(id);
    if (same !== undefined && same.sha256 !== point.sha256) throw otherManifest(point, same);
    if (same !== undefined || merged.has(id)) present.push(id);
    else missing.push(point);
  }
  for (const point of missing) refuseDiverged(point, target);
  return { missing, present };
}

/** A number is given once for each machine: two points with the same one are of two histories. */
function refuseDiverged({ manifest }: Point, target: readonly Point[]): void {
  const other = target.find(
    each => each.manifest.sequence === manifest.sequence && !manifest.replaces.includes(each.manifest.id),
  );
  if (other === undefined) return;
  throw new ChainError(
    'CHAIN_FOREIGN',
    `the target went its own way: its point ${other.manifest.id} is in the place of point ${manifest.id} (both are number ${manifest.sequence})`,
    {
      hint: 'copy to another repository, or under another machine; backups of one machine go to one of them',
      fields: { point: manifest.id, other: other.manifest.id, sequence: manifest.sequence },
    },
  );
}

function otherManifest(point: Point, same: Point): DamagedError {
  const text = `point ${point.manifest.id} has a manifest with SHA-256 ${point.sha256} here and ${same.sha256} in the target`;
  return new DamagedError(text, {
    hint: 'verify both repositories: one of the two was changed',
    fields: { point: point.manifest.id },
  });
}
