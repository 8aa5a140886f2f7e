/** What `/proc/PID/stat` says of a process: enough to tell it from a later one with the same number. */
export interface ProcessStat {
  /** One letter; `Z` and `X`: it has ended and only waits for its parent to notice. */
  readonly state: string;
  /** Start time in clock ticks since boot. */
  readonly start: string;
}

/** Fields 3 and 22 of `/proc/PID/stat`. Field 2 is the program's name and may hold spaces and parentheses. */
export function parseProcessStat(stat: string): ProcessStat | null {
  const afterName = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const state = afterName[3 - 3];
  const start = afterName[22 - 3]?.trimEnd();
  return state !== undefined && start !== undefined && /^\d+$/.test(start) ? { state, start } : null;
}

/** Whether a process that is still listed has ended. */
export function hasEnded({ state }: ProcessStat): boolean {
  return /[ZX]/.test(state);
}
