import { readdir, readFile } from 'node:fs/promises';

/** A process, precisely enough that a later one with the same number is not taken for it. */
export interface ProcessMark {
  readonly pid: number;
  /** Start time in clock ticks since boot. */
  readonly start: string;
}

/** The mark of a process that is alive; `undefined`: there is none, or it only waits to be reaped. */
export async function markProcess(pid: number): Promise<ProcessMark | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => undefined);
  if (stat === undefined) return undefined;
  // Field 2 is the program's name and may hold spaces and parentheses; fields 3 and 22 are state and start.
  const [state, ...rest] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const start = rest[22 - 4];
  return start === undefined || state === 'Z' || state === 'X' ? undefined : { pid, start };
}

/** Whether that very process is alive. */
export async function isSameProcess({ pid, start }: ProcessMark): Promise<boolean> {
  return (await markProcess(pid))?.start === start;
}

/** Command lines of all processes that we may look at. */
export async function listCommands(): Promise<
  readonly (ProcessMark & { readonly argv: readonly string[] })[]
> {
  const found: (ProcessMark & { argv: readonly string[] })[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const text = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '');
    const mark = text === '' ? undefined : await markProcess(Number(name));
    if (mark !== undefined) found.push({ ...mark, argv: text.split('\0').slice(0, -1) });
  }
  return found;
}
