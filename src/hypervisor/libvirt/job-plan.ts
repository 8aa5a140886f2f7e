import { formatNbdUri } from '../../nbd/protocol/uri.js';
import type { Reason } from '../front-end.js';
import type { SessionDisk } from '../session-record.js';
import type { JobDisk, JobServer, RunningBackup } from './backup-xml.js';
import type { ChosenBase } from './choose-base.js';
import type { SelectedDisk } from './guest-description.js';
import { noBitmapReason } from './plan-disks.js';
import { type Scratch, scratchOf } from './scratch.js';

/** How one disk takes part in the job. */
export interface DiskPlan {
  readonly disk: SelectedDisk;
  readonly job: JobDisk;
  /** Why it is read whole; `null` when it is not, or when nothing else was asked for. */
  readonly reason: Reason | null;
}

export interface PlanRequest {
  readonly run: string;
  readonly checkpoint: boolean;
  readonly scratch: Scratch;
  readonly base: ChosenBase;
}

export function planJobDisks(disks: readonly SelectedDisk[], request: PlanRequest): readonly DiskPlan[] {
  const { run, checkpoint, scratch, base } = request;
  return disks.map(disk => {
    const { target: name, encryption } = disk;
    const noBitmap = noBitmapReason(disk);
    const reason = noBitmap ?? base.unusable.get(name) ?? null;
    const job: JobDisk = {
      ...{ name, encryption },
      since: reason === null ? base.name : null,
      hasCheckpoint: checkpoint && noBitmap === null,
      scratch: scratchOf(scratch, run, name),
    };
    return { disk, job, reason };
  });
}

/** How the job's NBD server is reached from here. */
export interface Reach {
  readonly server: JobServer;
  /** Folder of certificates, for TLS. */
  readonly certificates: string | undefined;
  /** For a server that listens at every address. */
  readonly hostName: string;
}

const EVERY_ADDRESS = ['0.0.0.0', '::', '*', ''];

/** The disks as they are read: names as libvirt gave them to the exports and bitmaps. */
export function sessionDisks(
  plan: readonly DiskPlan[],
  backup: RunningBackup,
  reach: Reach,
): readonly SessionDisk[] {
  return plan.map(({ disk, job, reason }) => {
    const { target: name, size, format, source } = disk;
    const running = backup.disks.find(entry => entry.name === name);
    return {
      ...{ name, size, format, reason },
      source: source ?? null,
      uri: exportUri(reach, running?.exportName ?? name),
      bitmap: job.since === null ? null : (running?.exportBitmap ?? `backup-${name}`),
    };
  });
}

/** TCP is with TLS always: libvirt is told so as well. */
function exportUri({ server, certificates, hostName }: Reach, exportName: string): string {
  if (server.kind === 'unix') return formatNbdUri({ kind: 'unix', path: server.socket }, exportName);
  const host = EVERY_ADDRESS.includes(server.host) ? hostName : server.host;
  const plain = formatNbdUri({ kind: 'tcp', host, port: server.port }, exportName);
  const query = certificates === undefined ? '' : `?tls-certificates=${encodeURIComponent(certificates)}`;
  return `${plain.replace(/^nbd:/, 'nbds:')}${query}`;
}
