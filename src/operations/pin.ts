import { errorLine } from '../errors.js';
import type { MachineLock } from '../repository/lock.js';
import type { MachineStore } from '../repository/machine-store.js';
import { newPin, type PinList } from '../repository/pin.js';
import { parsePointSpec, resolvePoint } from '../repository/point-spec.js';
import type { Repository } from '../repository/repository.js';
import { useRepository } from './open-repository.js';

export interface PinOptions {
  readonly repository: string | Repository;
  /** `MACHINE@POINT`. */
  readonly point: string;
  /** Why, for people: at most 1024 characters. */
  readonly note?: string | undefined;
  readonly now?: Date | undefined;
}

/** A point that stays whatever a policy says. */
export interface PointPin {
  readonly point: string;
  readonly created: string | null;
  readonly note: string | null;
  /** Why the pin cannot be read; it counts all the same. */
  readonly error: string | null;
}

export interface PinResult {
  readonly machine: string;
  readonly point: string;
  /** What it is now; `null` when it is not pinned. */
  readonly pin: PointPin | null;
  /** What it was before. */
  readonly before: PointPin | null;
}

/**
 * Pins a point, or replaces the note of one that is pinned: prune keeps it.
 * @throws RepositoryError MACHINE_UNKNOWN, POINT_UNKNOWN, POINT_AMBIGUOUS, LOCKED; UsageError for a note that is too long.
 */
export async function pin(options: PinOptions): Promise<PinResult> {
  const pin = newPin(options.note ?? null, options.now ?? new Date());
  return await changePin(options, 'pin', (machine, lock, id) => machine.putPin(lock, id, pin));
}

/** Takes the pin of a point away, if it has one. @throws as {@link pin} does. */
export async function unpin(options: Pick<PinOptions, 'repository' | 'point'>): Promise<PinResult> {
  return await changePin(options, 'unpin', (machine, lock, id) => machine.removePin(lock, id));
}

async function changePin(
  options: Pick<PinOptions, 'repository' | 'point'>,
  operation: string,
  change: (machine: MachineStore, lock: MachineLock, id: string) => Promise<void>,
): Promise<PinResult> {
  const spec = parsePointSpec(options.point);
  const repository = await useRepository(options.repository);
  const machine = await repository.openMachine(spec.machine);
  await using lock = await machine.lock(operation);
  // Only now: before the lock was taken, the point may have been merged into another.
  const { id } = resolvePoint(await machine.listPoints(), spec.machine, spec.point).manifest;
  const before = await readPointPin(machine, id);
  await change(machine, lock, id);
  return { machine: machine.name, point: id, pin: await readPointPin(machine, id), before };
}

/** The pin of one point. */
export async function readPointPin(machine: MachineStore, id: string): Promise<PointPin | null> {
  return describePins(await machine.readPins([id]))[0] ?? null;
}

/** Pins as they are shown, by point. */
export function describePins({ pins, unreadable }: PinList): PointPin[] {
  const read = [...pins].map(([point, { created, note }]) => ({ point, created, note, error: null }));
  const damaged = [...unreadable].map(([point, error]) => ({
    ...{ point, created: null, note: null },
    error: errorLine(error),
  }));
  return [...read, ...damaged].sort((a, b) => (a.point < b.point ? -1 : 1));
}
