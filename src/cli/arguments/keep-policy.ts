import { type Command, InvalidArgumentError } from 'commander';
import type { RetentionPolicy } from '../../operations/prune-options.js';

const UNLIMITED = -1;

/** How many points a rule keeps: a whole number, or all of them. */
export function keepCount(text: string): number {
  if (text === 'unlimited' || text === String(UNLIMITED)) return UNLIMITED;
  const count = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(count)) return count;
  throw new InvalidArgumentError('expected a whole number, or unlimited');
}

/** Adds the options that make a policy: restic's, with restic's meaning. */
export function withKeepPolicy(command: Command): Command {
  const periods = ['hour', 'day', 'week', 'month', 'year'] as const;
  command.option('--keep-last <n>', 'keep the last n points', keepCount);
  for (const period of periods) {
    const what = `keep the newest point of each of the last n ${period}s that have one`;
    command.option(`--keep-${adjectiveOf(period)} <n>`, what, keepCount);
  }
  command.option(
    '--keep-within <duration>',
    'keep all points this far back from the newest, e.g. 30d or 2y5m7d3h',
  );
  for (const period of periods) {
    const what = `keep the newest point of each ${period}, this far back`;
    command.option(`--keep-within-${adjectiveOf(period)} <duration>`, what);
  }
  return command;
}

function adjectiveOf(period: string): string {
  return period === 'day' ? 'daily' : `${period}ly`;
}

/** The policy among a command's options: their names are the policy's. */
export function keepPolicyOf(options: RetentionPolicy): RetentionPolicy {
  return Object.fromEntries(Object.entries(options).filter(([name]) => name.startsWith('keep')));
}
