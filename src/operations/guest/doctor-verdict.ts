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
 * A verdict from findings, by three agreements with whoever makes them: `problem` is in the way of every backup; `disk`
 * is `ok` for one that can keep a bitmap (or offers one to read) and a `warning` for one that is read whole each time;
 * `guest-agent` is `ok` when it answers, and `info` where nobody can tell.
 */
export function judge(findings: readonly Finding[]): Verdict {
  const problems = findings.filter(({ status }) => status === 'problem').length;
  const full = problems === 0;
  const disks = findings.filter(({ id }) => id === 'disk');
  const agent = findings.find(({ id }) => id === 'guest-agent');
  const quiesce = agent === undefined || agent.status === 'info' ? null : agent.status === 'ok';
  const incremental = full && disks.some(({ status }) => status === 'ok');
  return { full, incremental, quiesce, text: full ? possible(disks, quiesce) : impossible(problems) };
}

function impossible(problems: number): string {
  const what = problems === 1 ? 'a problem is' : `${problems} problems are`;
  return `cannot be backed up as it is: ${what} in the way`;
}

function possible(disks: readonly Finding[], quiesce: boolean | null): string {
  const parts = [`can be backed up, ${incrementalPart(disks)}`];
  if (quiesce !== null) parts.push(quiesce ? '--quiesce works' : 'without --quiesce');
  return parts.join('; ');
}

function incrementalPart(disks: readonly Finding[]): string {
  if (!disks.some(({ status }) => status === 'ok')) return 'but everything is read each time';
  const whole = disks.filter(({ status }) => status === 'warning').map(({ disk }) => disk ?? 'one');
  return whole.length === 0
    ? 'incrementally as well'
    : `incrementally as well, except for ${whole.join(', ')}`;
}
