import { ChainError, errorLine, UsageError } from '../../errors.js';
import type { MachineLock } from '../../repository/lock.js';
import type { MachineStore } from '../../repository/machine-store.js';
import type { Manifest, Point } from '../../repository/manifest.js';
import { type MergePath, planMergePath, type StayingPoint } from '../../repository/merge-path.js';
import type { PointList } from '../../repository/point-list.js';
import { resolvePoint } from '../../repository/point-spec.js';
import type { HeldPoint } from '../../repository/remove-points.js';
import type { Repository } from '../../repository/repository.js';
import type { Warning } from '../backup-manifest.js';
import { useRepository } from '../open-repository.js';
import type { ProgressListener } from '../progress.js';
import { mergePoints } from './merge-points.js';
import type { MergedFrames } from './write-merged.js';

export interface MergeOptions {
  readonly repository: string | Repository;
  readonly machine: string;
  /** The oldest point to be merged, as in `MACHINE@POINT`; without it the newest alone (with `into: 'full'`). */
  readonly from?: string | undefined;
  /** The newest; default `latest`. */
  readonly to?: string | undefined;
  /** `full`: the merged point holds everything, also what is before `from`, and begins a chain. */
  readonly into?: 'full' | undefined;
  readonly threads?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ProgressListener | undefined;
}

/** What a merge did. Bytes. */
export interface MergeResult extends MergedFrames {
  readonly machine: string;
  readonly point: Manifest;
  /** Points that are none any more, oldest first. */
  readonly replaced: readonly string[];
  readonly staying: readonly StayingPoint[];
  /** Replaced, but read by somebody: their files go with the next merge or prune. */
  readonly held: readonly HeldPoint[];
  /** What went wrong after the merged point was committed. */
  readonly warnings: readonly Warning[];
  readonly elapsedMs: number;
}

/**
 * Makes one point of several that follow one another, copying compressed frames as they are. The merged point stands for
 * the newest of them: what builds on that one builds on it. A reader sees the old points or the new one; the old ones
 * go only when it is committed, verified, and nobody reads them.
 * @throws NbdeltaError of any code in `docs/errors.md`; then nothing was changed.
 */
export async function merge(options: MergeOptions): Promise<MergeResult> {
  const started = performance.now();
  const repository = await useRepository(options.repository);
  const machine = await repository.openMachine(options.machine);
  await using lock = await machine.lock('merge');
  await machine.removePoints(lock);
  const list = await machine.listPoints();
  refuseUnreadable(machine.name, list);
  const path = planPath(list, options, await pinnedPoints(machine, list));
  const merged = await mergePoints({
    ...{ machine, lock, points: list.points, path, intoFull: options.into === 'full' },
    ...{ threads: options.threads, signal: options.signal, onProgress: options.onProgress },
  });
  const { point, ...frames } = merged;
  const { held, warnings } = await finishMerge(machine, lock, point);
  const { replaced, staying } = path;
  const elapsedMs = performance.now() - started;
  return {
    machine: machine.name,
    point: point.manifest,
    replaced,
    staying,
    held,
    warnings,
    ...frames,
    elapsedMs,
  };
}

/** What remains when the merged point exists: whatever fails now costs space, and nothing else. */
async function finishMerge(
  machine: MachineStore,
  lock: MachineLock,
  point: Point,
): Promise<{ readonly held: readonly HeldPoint[]; readonly warnings: readonly Warning[] }> {
  try {
    await machine.recordCommitted(lock, point);
    const { held } = await machine.removePoints(lock);
    await machine.removeIncomplete(lock, { resumable: true });
    return { held, warnings: [] };
  } catch (error) {
    const text = `after the commit: ${errorLine(error)}`;
    return { held: [], warnings: [{ code: 'replaced-not-removed', text }] };
  }
}

/** What cannot be read may build on any of them. @throws ChainError. */
export function refuseUnreadable(machine: string, { unreadable }: PointList): void {
  const first = unreadable[0];
  if (first === undefined) return;
  const more = unreadable.length > 1 ? ` (and ${unreadable.length - 1} more)` : '';
  throw new ChainError(
    'CHAIN_TORN',
    `point ${first.id} of machine ${machine} cannot be read${more}, so nobody knows what it builds on: ${first.error.message}`,
    {
      cause: first.error,
      hint: 'repair it from a copy of the repository first',
      fields: { machine, point: first.id },
    },
  );
}

/** Ids; a pin that cannot be read counts. */
async function pinnedPoints(machine: MachineStore, { points }: PointList): Promise<ReadonlySet<string>> {
  const { pins, unreadable } = await machine.readPins(points.map(point => point.manifest.id));
  return new Set([...pins.keys(), ...unreadable.keys()]);
}

function planPath(
  list: PointList,
  { machine, from, to = 'latest', into }: MergeOptions,
  pinned: ReadonlySet<string>,
): MergePath {
  const newest = resolvePoint(list, machine, to);
  if (from === undefined && into !== 'full')
    throw new UsageError('a merge needs the point that it begins with', {
      hint: '--from POINT, or --into full',
    });
  const oldest = from === undefined ? newest : resolvePoint(list, machine, from);
  const path = planMergePath(list.points, oldest, newest, pinned);
  if (path.points.length === 1) checkWorth(newest, into);
  return path;
}

/** @throws UsageError when the merge of one point would be that point. */
function checkWorth({ manifest }: Point, into: MergeOptions['into']): void {
  if (into === 'full' && manifest.level !== 'full') return;
  throw new UsageError(
    into === 'full'
      ? `point ${manifest.id} is a full already`
      : `nothing to merge: ${manifest.id} is one point`,
    { hint: 'name two points of one chain with --from and --to' },
  );
}
