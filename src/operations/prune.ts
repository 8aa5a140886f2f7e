import { AbortedError } from '../errors.js';
import type { MachineLock } from '../repository/lock.js';
import type { MachineStore } from '../repository/machine-store.js';
import { planMergePath } from '../repository/merge-path.js';
import { resolvePoint } from '../repository/point-spec.js';
import { archiveBytes, type PruneStep } from '../repository/prune-plan.js';
import type { HeldPoint } from '../repository/remove-points.js';
import { retentionRules } from '../repository/retention-rules.js';
import { refuseUnreadable } from './merge/merge.js';
import { mergePoints } from './merge/merge-points.js';
import { useRepository } from './open-repository.js';
import { planMachinePrune } from './plan-machine-prune.js';
import type { PruneOptions } from './prune-options.js';
import { type PrunePreview, previewOf } from './prune-preview.js';

/** A kept point that took in others. */
export interface MergedPath {
  /** Ids, oldest first; the last is the point that the new one stands for. */
  readonly points: readonly string[];
  /** The new point's id. */
  readonly into: string;
  readonly bytes: number;
}

export interface PruneResult extends PrunePreview {
  readonly dryRun: boolean;
  readonly merged: readonly MergedPath[];
  /** Points that are none any more, but read by somebody: their files go with the next merge or prune. */
  readonly held: readonly HeldPoint[];
  /** Bytes that the repository has less now; below zero when branches took in what they shared. */
  readonly freedBytes: number;
  readonly elapsedMs: number;
}

/**
 * Removes the points of a machine that a policy does not keep. What a kept point needs of them is merged into it first.
 * Every kept point can be read at every instant; a run that was cut off is continued by the next one.
 * @throws UsageError for a policy that keeps nothing; RepositoryError MACHINE_UNKNOWN, LOCKED; AbortedError; and the error
 *   of a point or a pin that cannot be read: nothing is touched then.
 */
export async function prune(options: PruneOptions): Promise<PruneResult> {
  const started = performance.now();
  retentionRules(options.policy);
  const repository = await useRepository(options.repository);
  const machine = await repository.openMachine(options.machine);
  const done =
    options.dryRun === true ? await previewOnly(machine, options) : await execute(machine, options);
  return { ...done, elapsedMs: performance.now() - started };
}

type Done = Omit<PruneResult, 'elapsedMs'>;

async function previewOnly(machine: MachineStore, options: PruneOptions): Promise<Done> {
  return { ...(await preview(machine, options)), dryRun: true, merged: [], held: [], freedBytes: 0 };
}

async function preview(machine: MachineStore, options: PruneOptions): Promise<PrunePreview> {
  const { verdicts, steps } = await planMachinePrune(machine, options.policy, options.now);
  const planned = previewOf(machine.name, verdicts, { steps });
  await options.onPlan?.(planned);
  return planned;
}

async function execute(machine: MachineStore, options: PruneOptions): Promise<Done> {
  await using lock = await machine.lock('prune');
  const planned = await preview(machine, options);
  // Only now: where something is not in order, nothing is touched at all.
  await machine.removePoints(lock);
  const run = new PruneRun(machine, lock, options);
  for (const [index, step] of planned.steps.entries()) {
    checkSignal(options.signal, index, planned.steps.length);
    options.onStep?.({ step, index, count: planned.steps.length });
    await run.take(step);
  }
  const { merged } = run;
  const held = await run.finish();
  return { ...planned, dryRun: false, merged, held, freedBytes: freedBy(planned, merged, held) };
}

function freedBy(
  { goesBytes, points }: PrunePreview,
  merged: readonly MergedPath[],
  held: readonly HeldPoint[],
): number {
  const stays = new Set(held.map(({ id }) => id));
  const heldBytes = points.reduce((sum, { id, bytes }) => sum + (stays.has(id) ? bytes : 0), 0);
  return goesBytes - heldBytes - merged.reduce((sum, { bytes }) => sum + bytes, 0);
}

function checkSignal(signal: AbortSignal | undefined, done: number, count: number): void {
  if (!signal?.aborted) return;
  const left = `${done} of ${count} steps were done, and the next prune does the rest`;
  throw new AbortedError('prune', signal.reason, left);
}

/** The steps of one plan, done one after another. */
class PruneRun {
  readonly merged: MergedPath[] = [];
  readonly #machine: MachineStore;
  readonly #lock: MachineLock;
  readonly #options: PruneOptions;

  constructor(machine: MachineStore, lock: MachineLock, options: PruneOptions) {
    this.#machine = machine;
    this.#lock = lock;
    this.#options = options;
  }

  async take(step: PruneStep): Promise<void> {
    if (step.kind === 'merge') await this.#mergeForward(step.points);
    await this.#machine.removePoints(this.#lock, step.kind === 'remove' ? step.points : []);
  }

  async #mergeForward(ids: readonly string[]): Promise<void> {
    const machine = this.#machine;
    // A merge before this one changed what there is.
    const list = await machine.listPoints();
    refuseUnreadable(machine.name, list);
    const [from, to] = [ids[0]!, ids[ids.length - 1]!].map(id => resolvePoint(list, machine.name, id));
    const { threads, signal, onProgress } = this.#options;
    const { point } = await mergePoints({
      ...{ machine, lock: this.#lock, points: list.points, path: planMergePath(list.points, from!, to!) },
      ...{ intoFull: false, threads, signal, onProgress },
    });
    await machine.recordCommitted(this.#lock, point);
    this.merged.push({ points: ids, into: point.manifest.id, bytes: archiveBytes(point.manifest) });
  }

  /** Clears away what dead runs left, now that no merge can go on with it. @returns points that are gone and still read. */
  async finish(): Promise<readonly HeldPoint[]> {
    await this.#machine.removeIncomplete(this.#lock, { resumable: true });
    return (await this.#machine.removePoints(this.#lock)).held;
  }
}
