import type { MachineLock } from '../repository/lock.js';
import type { MachineStore } from '../repository/machine-store.js';
import { withCleanUp } from './clean-up.js';

/** Who is told of what fails after the work is done: the point exists by then. */
export interface LateWarnings {
  afterCommit(code: string, work: () => Promise<void>): Promise<void>;
}

/**
 * Does something that changes a machine's points, under its lock; the machine is made when it is new, and removed
 * again when nothing came of it.
 * @throws RepositoryError LOCKED, or what `work` throws.
 */
export async function withMachineLock<Result>(
  machine: MachineStore,
  operation: string,
  late: LateWarnings,
  work: (lock: MachineLock) => Promise<Result>,
): Promise<Result> {
  const lock = await machine.lock(operation, { create: true });
  let result: Result;
  try {
    result = await work(lock);
  } catch (error) {
    throw await withCleanUp(error, async () => {
      await lock.release();
      await machine.removeIfEmpty();
    });
  }
  await late.afterCommit('lock-not-released', () => lock.release());
  return result;
}
