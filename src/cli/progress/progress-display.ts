import type { Progress } from '../../operations/progress.js';
import type { Output } from '../output.js';
import { ProgressBar } from './progress-bar.js';
import { ProgressLines } from './progress-lines.js';

/** Shows how a long operation goes. */
export interface ProgressDisplay {
  update(progress: Progress): void;
  /** Takes away what is not to stay. Safe at any time; a later update shows it again. */
  clear(): void;
}

const SILENT: ProgressDisplay = { update: () => undefined, clear: () => undefined };

/** A bar on a terminal, now and then a line elsewhere, or nothing. */
export function openProgress(
  output: Output,
  options: { readonly silent: boolean; readonly now?: () => number },
): ProgressDisplay {
  if (options.silent) return SILENT;
  const now = options.now ?? (() => performance.now());
  return output.view.isTerminal ? new ProgressBar(output, now) : new ProgressLines(output, now);
}

/** What a phase is called. */
export const PHASE_NAMES = {
  map: 'reading the map',
  compare: 'comparing',
  data: 'moving data',
  finish: 'finishing',
} as const satisfies Record<Progress['phase'], string>;
