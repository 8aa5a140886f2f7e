import type { Point } from '../repository/manifest.js';
import { archiveBytes, type PrunePlan, type PruneStep } from '../repository/prune-plan.js';
import type { Verdict } from '../repository/retention.js';

/** What becomes of one point. */
export interface PointFate {
  readonly id: string;
  readonly created: string;
  readonly level: string;
  /** Of its archives. */
  readonly bytes: number;
  readonly action: 'keep' | 'merge' | 'remove';
  /** Why it is kept. */
  readonly reasons: readonly string[];
  /** The kept points that it is merged into: more than one where chains branch. */
  readonly into: readonly string[];
  /** How many points are merged into this one, which gets a new id. */
  readonly takesIn: number;
}

/** What prune is going to do, or would. Bytes of archives, as the points' manifests say. */
export interface PrunePreview {
  readonly machine: string;
  /** By sequence, oldest first. */
  readonly points: readonly PointFate[];
  readonly steps: readonly PruneStep[];
  /** Bytes of everything that goes, also of kept points that are written anew. */
  readonly goesBytes: number;
  /** Bytes of the points that are written anew, at most. */
  readonly writesBytes: number;
  /** What is gained at least; below zero when chains branch, and several points take in what they shared. */
  readonly freesBytes: number;
  /** The room that is needed in between, at most. */
  readonly needsBytes: number;
}

/** Told before a step is done; `index` counts from 0. */
export interface StepNotice {
  readonly step: PruneStep;
  readonly index: number;
  readonly count: number;
}

export function previewOf(
  machine: string,
  verdicts: readonly Verdict[],
  { steps }: Pick<PrunePlan, 'steps'>,
): PrunePreview {
  const goesBytes = steps.reduce((sum, { frees }) => sum + frees, 0);
  const writesBytes = steps.reduce((sum, step) => sum + writtenBy(step), 0);
  return {
    machine,
    points: describeFates(verdicts, steps),
    steps,
    ...{ goesBytes, writesBytes, freesBytes: goesBytes - writesBytes, needsBytes: roomFor(steps) },
  };
}

function writtenBy(step: PruneStep): number {
  return step.kind === 'merge' ? step.writes : 0;
}

/** A merged point is there before what it replaces goes. */
function roomFor(steps: readonly PruneStep[]): number {
  let used = 0;
  let most = 0;
  for (const step of steps) {
    used += writtenBy(step);
    most = Math.max(most, used);
    used -= step.frees;
  }
  return most;
}

function describeFates(verdicts: readonly Verdict[], steps: readonly PruneStep[]): PointFate[] {
  const into = new Map<string, string[]>();
  const takesIn = new Map<string, number>();
  for (const step of steps) {
    if (step.kind === 'remove') continue;
    const kept = step.points[step.points.length - 1]!;
    const merged = step.points.slice(0, -1);
    takesIn.set(kept, merged.length);
    for (const id of merged) into.set(id, [...(into.get(id) ?? []), kept]);
  }
  return verdicts.map(({ point, keep, reasons }) => {
    const { id } = point.manifest;
    const targets = into.get(id) ?? [];
    const action = keep ? 'keep' : targets.length > 0 ? 'merge' : 'remove';
    return { ...describePoint(point), action, reasons, into: targets, takesIn: takesIn.get(id) ?? 0 };
  });
}

function describePoint({ manifest }: Point): Pick<PointFate, 'id' | 'created' | 'level' | 'bytes'> {
  const { id, created, level } = manifest;
  return { id, created, level, bytes: archiveBytes(manifest) };
}
