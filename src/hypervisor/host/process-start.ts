import { readdir, readFile } from 'node:fs/promises';
import { hasEnded, parseProcessStat } from '../../process/process-stat.js';

/** A process, precisely enough that a later one with the same number is not taken for it. */
export interface ProcessMark {
  readonly pid: number;
  /** Start time in clock ticks since boot. */
  readonly start: string;
}

/** A process with its command line. */
export interface RunningCommand extends ProcessMark {
  readonly argv: readonly string[];
}

/** The mark of a process that is alive; `undefined`: there is none, or it only waits to be reaped. */
export async function markProcess(pid: number): Promise<ProcessMark | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => undefined);
  const stat = text === undefined ? null : parseProcessStat(text);
  return stat === null || hasEnded(stat) ? undefined : { pid, start: stat.start };
}

/** Whether that very process is alive. */
export async function isSameProcess({ pid, start }: ProcessMark): Promise<boolean> {
  return (await markProcess(pid))?.start === start;
}

/** A process's command line; `undefined`: there is no such process, or we may not look at it. */
export async function readCommand(pid: number): Promise<RunningCommand | undefined> {
  const mark = await markProcess(pid);
  if (mark === undefined) return undefined;
  const text = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  // The number may have come again in between: then these are the words of another process.
  if (text === '' || !(await isSameProcess(mark))) return undefined;
  return { ...mark, argv: text.split('\0').slice(0, -1) };
}

/** Command lines of all processes that we may look at. */
export async function listCommands(): Promise<readonly RunningCommand[]> {
  const found: RunningCommand[] = [];
  for (const name of await readdir('/proc')) {
    const command = /^\d+$/.test(name) ? await readCommand(Number(name)) : undefined;
    if (command !== undefined) found.push(command);
  }
  return found;
}
