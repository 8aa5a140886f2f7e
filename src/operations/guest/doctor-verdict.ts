import type { Finding } from '../../hypervisor/front-end.js';

/** What can be done with a guest as it is now. */
export interface Verdict {
  readonly full: boolean;
  /** At least one disk can keep a bitmap; the others are read whole each time. */
  readonly incremental: boolean;
  /** Whether the guest agent answers; `null`: nothing says so. */
  readonly quiesce: boolean | null;
  readonly text: string;
}

/**
 * A verdict from findings, by two agreements with whoever makes them: `problem` is in the way of every backup, and
 * the ids `bitmap` (of a disk: can keep one, or has one to read) and `guest-agent` are `ok` when they work.
 */
export function judge(findings: readonly Finding[]): Verdict {
  const problems = findings.filter(({ status }) => status === 'problem');
  const full = problems.length === 0;
  const bitmaps = findings.filter(({ id }) => id === 'bitmap');
  const incremental = full && bitmaps.some(({ status }) => status === 'ok');
  const agent = findings.find(({ id }) => id === 'guest-agent');
  const quiesce = agent === undefined ? null : agent.status === 'ok';
  return {
    full,
    incremental,
    quiesce,
    text: full ? possible(bitmaps, quiesce) : impossible(problems.length),
  };
}

function impossible(problems: number): string {
  const what = problems === 1 ? 'a problem is' : `${problems} problems are`;
  return `cannot be backed up as it is: ${what} in the way`;
}

function possible(bitmaps: readonly Finding[], quiesce: boolean | null): string {
  const parts = [`can be backed up${incrementalPart(bitmaps)}`];
  if (quiesce !== null) parts.push(quiesce ? '--quiesce works' : 'without --quiesce');
  return parts.join('; ');
}

function incrementalPart(bitmaps: readonly Finding[]): string {
  const whole = bitmaps.filter(({ status }) => status !== 'ok');
  if (whole.length === bitmaps.length) return ', but never incrementally';
  const named = whole.flatMap(({ disk }) => disk ?? []);
  return named.length === 0
    ? ', incrementally as well'
    : `, incrementally as well, except for ${named.join(', ')}`;
}
