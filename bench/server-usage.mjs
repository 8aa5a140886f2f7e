/** What a server that is running used so far, from /proc. */
import { existsSync, readFileSync } from 'node:fs';

const TICKS = 100;

/** Seconds of CPU (user + system). NaN where there is no /proc. */
export function cpuOf(pid) {
  if (!existsSync(`/proc/${pid}/stat`)) return Number.NaN;
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS;
}

/** Highest resident memory in bytes. NaN where there is no /proc. */
export function memoryOf(pid) {
  if (!existsSync(`/proc/${pid}/status`)) return Number.NaN;
  const line = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(line[1]) * 1024;
}

/** Runs something against a server; CPU and memory of the sample are the server's. */
export async function withUsage(pid, run) {
  const before = cpuOf(pid);
  const sample = await run();
  return { ...sample, cpu: cpuOf(pid) - before, memory: memoryOf(pid) };
}
