import { NbdeltaError } from '../errors.js';
import type { MachineStore } from '../repository/machine-store.js';
import type { Point } from '../repository/manifest.js';
import { type PrunePlan, planPrune } from '../repository/prune-plan.js';
import { applyRetention, type Verdict } from '../repository/retention.js';
import type { RetentionPolicy } from '../repository/retention-rules.js';

export interface MachinePrunePlan extends PrunePlan {
  readonly verdicts: readonly Verdict[];
}

/**
 * What a policy means for the points of a machine as they are now. Reads manifests, pins and folders, writes nothing.
 * Everything has to be in order first: what cannot be read may build on any other point, and when the points that are to
 * stay cannot be restored, those that would go are perhaps all there is.
 * @throws UsageError for the policy; the error of what is not in order.
 */
export async function planMachinePrune(
  machine: MachineStore,
  policy: RetentionPolicy,
  now = new Date(),
): Promise<MachinePrunePlan> {
  const { points, unreadable } = await machine.listPoints();
  const damaged = unreadable[0];
  if (damaged !== undefined) throw refusal(damaged.error, `point ${damaged.id} cannot be read`, damaged.id);
  const pinned = await readPinned(machine, points);
  const verdicts = applyRetention(points, policy, { pinned, now });
  const plan = planAround(points, verdicts);
  for (const point of points) {
    if (plan.needed.has(point.manifest.id)) await checkWhole(machine, point);
  }
  return { ...plan, verdicts };
}

/** Ids of pinned points. A pin that cannot be read may be one that matters. */
async function readPinned(machine: MachineStore, points: readonly Point[]): Promise<ReadonlySet<string>> {
  const { pins, unreadable } = await machine.readPins(points.map(point => point.manifest.id));
  for (const [id, error] of unreadable) throw refusal(error, `the pin of point ${id} cannot be read`, id);
  return new Set(pins.keys());
}

function planAround(points: readonly Point[], verdicts: readonly Verdict[]): PrunePlan {
  const kept = verdicts.filter(({ keep }) => keep).map(({ point }) => point.manifest.id);
  try {
    return planPrune(points, new Set(kept));
  } catch (error) {
    if (!(error instanceof NbdeltaError)) throw error;
    throw refusal(error, 'a chain that is to stay is broken', error.fields['point'] ?? null);
  }
}

/** Whether the volumes of a point are there in full. */
async function checkWhole(machine: MachineStore, point: Point): Promise<void> {
  const [torn] = await machine.findTorn([point], point);
  if (torn !== undefined)
    throw refusal(torn.error, `point ${torn.id} is to stay or is needed, and is torn`, torn.id);
}

function refusal(error: NbdeltaError, why: string, point: NbdeltaError['fields'][string]): NbdeltaError {
  return new NbdeltaError(error.code, `nothing is pruned, because ${why}: ${error.message}`, {
    cause: error,
    ...(error.hint === undefined ? {} : { hint: error.hint }),
    fields: { ...error.fields, point },
  });
}
