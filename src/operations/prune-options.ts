import type { MachineLock } from '../repository/lock.js';
import type { MachineStore } from '../repository/machine-store.js';
import type { Point } from '../repository/manifest.js';
import type { Repository } from '../repository/repository.js';
import type { RetentionPolicy } from '../repository/retention-rules.js';
import type { ProgressListener } from './progress.js';
import type { PrunePreview, StepNotice } from './prune-preview.js';

export type { RetentionPolicy } from '../repository/retention-rules.js';

/**
 * Makes of a path of points (ids, oldest first, each the parent of the next) a new one that stands for the newest of
 * them, and removes what it replaces. Under the machine's lock, which it is given.
 * @param replaces which of them may go: the others have children that are not in the path.
 */
export type MergePath = (
  points: readonly string[],
  lock: MachineLock,
  replaces: readonly string[],
) => Promise<Point>;

export interface PruneOptions {
  readonly repository: string | Repository;
  readonly machine: string;
  readonly policy: RetentionPolicy;
  /** Plans, and changes nothing. */
  readonly dryRun?: boolean | undefined;
  readonly threads?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ProgressListener | undefined;
  /** Told what is going to be done, before anything is. */
  readonly onPlan?: ((preview: PrunePreview) => void | Promise<void>) | undefined;
  /** Told before every step. */
  readonly onStep?: ((notice: StepNotice) => void) | undefined;
  readonly now?: Date | undefined;
  /** How points are merged in this machine; for tests. */
  readonly mergeWith?: ((machine: MachineStore) => MergePath) | undefined;
}
