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
 * Pins a point: prune keeps it. One that is pinned already stays as it is, or gets the new note; a pin that cannot be read is
 * written anew.
 * @throws RepositoryError MACHINE_UNKNOWN, POINT_UNKNOWN, POINT_AMBIGUOUS, LOCKED; UsageError for a note that is too long.
 */
export async function pin(options: PinOptions): Promise<PinResult> {
  const { note = null, now = new Date() } = options;
  const pin = newPin(note, now);
  return await changePin(options, 'pin', async ({ machine, lock, id, before }) => {
    if (before === null || before.error !== null || note !== null) await machine.putPin(lock, id, pin);
  });
}

/** Takes the pin of a point away, if it has one. @throws as {@link pin} does. */
export async function unpin(options: Pick<PinOptions, 'repository' | 'point'>): Promise<PinResult> {
  return await changePin(options, 'unpin', ({ machine, lock, id }) => machine.removePin(lock, id));
}

interface PinPlace {
  readonly machine: MachineStore;
  readonly lock: MachineLock;
  readonly id: string;
  readonly before: PointPin | null;
}

async function changePin(
  options: Pick<PinOptions, 'repository' | 'point'>,
  operation: string,
  change: (place: PinPlace) => Promise<void>,
): Promise<PinResult> {
  const spec = parsePointSpec(options.point);
  const repository = await useRepository(options.repository);
  const machine = await repository.openMachine(spec.machine);
  await using lock = await machine.lock(operation);
  // Only now: before the lock was taken, the point may have been merged into another.
  const { id } = resolvePoint(await machine.listPoints(), spec.machine, spec.point).manifest;
  const before = await readPointPin(machine, id);
  await change({ machine, lock, id, before });
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
