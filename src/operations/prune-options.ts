import type { Repository } from '../repository/repository.js';
import type { RetentionPolicy } from '../repository/retention-rules.js';
import type { ProgressListener } from './progress.js';
import type { PrunePreview, StepNotice } from './prune-preview.js';

export type { RetentionPolicy } from '../repository/retention-rules.js';

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
}
