import { NbdeltaError } from '../errors.js';
import { retentionRules } from '../repository/retention-rules.js';
import { useRepository } from './open-repository.js';
import { type PruneResult, prune } from './prune.js';
import type { PruneOptions } from './prune-options.js';

/** A machine that was not pruned, or not to the end. */
export interface PruneFailure {
  readonly machine: string;
  readonly error: NbdeltaError;
}

export interface PruneAllResult {
  readonly machines: readonly PruneResult[];
  readonly failures: readonly PruneFailure[];
}

export interface PruneAllOptions extends Omit<PruneOptions, 'machine'> {
  readonly onFailure?: ((failure: PruneFailure) => void) | undefined;
}

/**
 * Prunes every machine of a repository, each by the policy alone. One that cannot be pruned does not keep the others from
 * it; a stop on request and a defect do.
 */
export async function pruneAll(options: PruneAllOptions): Promise<PruneAllResult> {
  retentionRules(options.policy);
  const repository = await useRepository(options.repository);
  const machines: PruneResult[] = [];
  const failures: PruneFailure[] = [];
  for (const machine of await repository.listMachines()) {
    try {
      machines.push(await prune({ ...options, repository, machine }));
    } catch (error) {
      if (!isOfOneMachine(error)) throw error;
      failures.push({ machine, error });
      options.onFailure?.({ machine, error });
    }
  }
  return { machines, failures };
}

function isOfOneMachine(error: unknown): error is NbdeltaError {
  return error instanceof NbdeltaError && error.code !== 'ABORTED' && error.code !== 'INTERNAL';
}
