import { AbortedError, NbdeltaError } from '../errors.js';
import type { MachineLock } from '../repository/lock.js';
import type { MachineStore } from '../repository/machine-store.js';
import { archiveBytes, type MergeStep, type PruneStep } from '../repository/prune-plan.js';
import { retentionRules } from '../repository/retention-rules.js';
import { useRepository } from './open-repository.js';
import { planMachinePrune } from './plan-machine-prune.js';
import type { MergePath, PruneOptions } from './prune-options.js';
import { type PrunePreview, previewOf } from './prune-preview.js';

/** A kept point that took in others. */
export interface MergedPoint {
  /** Ids, oldest first; the last is the point that the new one stands for. */
  readonly points: readonly string[];
  /** The new point's id. */
  readonly into: string;
  readonly bytes: number;
}

export interface PruneResult extends PrunePreview {
  readonly dryRun: boolean;
  readonly merged: readonly MergedPoint[];
  /** Points that are none any more, but whose files stay until nobody reads them; a later prune removes those. */
  readonly held: readonly string[];
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
  return { ...(await preview(machine, options)), dryRun: true, merged: [], held: [] };
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
  const run = new PruneRun(machine, lock, mergeIn(machine, options));
  for (const [index, step] of planned.steps.entries()) {
    checkSignal(options.signal, index, planned.steps.length);
    options.onStep?.({ step, index, count: planned.steps.length });
    await run.take(step);
  }
  return { ...planned, dryRun: false, merged: run.merged, held: await run.finish() };
}

function mergeIn(machine: MachineStore, options: PruneOptions): MergePath {
  const mergeWith = options.mergeWith ?? notWiredIn;
  return mergeWith(machine);
}

/** Replaced by the real one. */
function notWiredIn(): MergePath {
  return async () => {
    throw new NbdeltaError('INTERNAL', 'points cannot be merged yet');
  };
}

function checkSignal(signal: AbortSignal | undefined, done: number, count: number): void {
  if (!signal?.aborted) return;
  const left = `${done} of ${count} steps were done, and the next prune does the rest`;
  throw new AbortedError('prune', signal.reason, left);
}

/** The steps of one plan, done one after another. */
class PruneRun {
  readonly merged: MergedPoint[] = [];
  readonly #machine: MachineStore;
  readonly #lock: MachineLock;
  readonly #merge: MergePath;

  constructor(machine: MachineStore, lock: MachineLock, merge: MergePath) {
    this.#machine = machine;
    this.#lock = lock;
    this.#merge = merge;
  }

  async take(step: PruneStep): Promise<void> {
    if (step.kind === 'merge') await this.#mergeForward(step);
    else await this.#machine.removePoints(this.#lock, step.points);
  }

  async #mergeForward({ points, replaces }: MergeStep): Promise<void> {
    const { manifest } = await this.#merge(points, this.#lock, replaces);
    this.merged.push({ points, into: manifest.id, bytes: archiveBytes(manifest) });
  }

  /** Removes what earlier runs had to leave. @returns ids of points that somebody still reads. */
  async finish(): Promise<string[]> {
    const { held } = await this.#machine.removePoints(this.#lock);
    return held.map(({ id }) => id);
  }
}
