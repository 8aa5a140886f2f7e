import { createHash } from 'node:crypto';
import { readFile, readlink } from 'node:fs/promises';
import { hostname } from 'node:os';
import { hasEnded, parseProcessStat } from '../process/process-stat.js';

/** Which process on which host, precisely enough to tell later whether it still runs. */
export interface ProcessIdentity {
  readonly host: string;
  /** Digest of `/etc/machine-id`: tells two hosts of the same name apart. `null`: unknown. */
  readonly hostId: string | null;
  /** Changes with every boot. `null`: unknown. */
  readonly bootId: string | null;
  /** A pid means nothing in another container. `null`: unknown. */
  readonly pidNamespace: string | null;
  readonly pid: number;
  /** Start time in clock ticks since boot: a later process with the same pid has another. */
  readonly processStart: string | null;
}

/** What the system said of a process: its start time, or that there is none, or nothing. */
export type ProcessStart =
  | { readonly kind: 'running'; readonly start: string }
  | { readonly kind: 'gone' | 'unknown' };

export interface ProcessProbe {
  /** This process. */
  self(): Promise<ProcessIdentity>;
  /** A process of this host, by its pid. */
  startOf(pid: number): Promise<ProcessStart>;
}

/** Asks `/proc`. */
export const procProbe: ProcessProbe = {
  async self() {
    const own = await procProbe.startOf(process.pid);
    const machineId = await readTrimmed('/etc/machine-id');
    return {
      host: hostname(),
      hostId: machineId === null ? null : createHash('sha256').update(`nbdelta ${machineId}`).digest('hex'),
      bootId: await readTrimmed('/proc/sys/kernel/random/boot_id'),
      pidNamespace: await readlink('/proc/self/ns/pid').catch(() => null),
      pid: process.pid,
      processStart: own.kind === 'running' ? own.start : null,
    };
  },
  async startOf(pid) {
    const stat = await readTrimmed(`/proc/${pid}/stat`);
    const found = stat === null ? null : parseProcessStat(stat);
    if (found !== null && hasEnded(found)) return { kind: 'gone' };
    if (found !== null) return { kind: 'running', start: found.start };
    return { kind: signalFinds(pid) ? 'unknown' : 'gone' };
  },
};

/** Whether the process that `holder` describes is certainly gone: `false` also when that cannot be told. */
export async function isCertainlyGone(holder: ProcessIdentity, probe: ProcessProbe): Promise<boolean> {
  const self = await probe.self();
  if (holder.host !== self.host || holder.bootId === null || self.bootId === null) return false;
  if (holder.bootId !== self.bootId) return holder.hostId !== null && holder.hostId === self.hostId;
  if (holder.pidNamespace === null || holder.pidNamespace !== self.pidNamespace) return false;
  const now = await probe.startOf(holder.pid);
  if (now.kind !== 'running') return now.kind === 'gone';
  return holder.processStart !== null && holder.processStart !== now.start;
}

function signalFinds(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: there is such a process, of somebody else.
    return !(error instanceof Error && 'code' in error && error.code === 'ESRCH');
  }
}

/** A file of the system, or `null` when this system has none or hides it: then nothing is concluded from it. */
async function readTrimmed(path: string): Promise<string | null> {
  const text = await readFile(path, 'latin1').catch(() => null);
  return text?.trim() || null;
}
