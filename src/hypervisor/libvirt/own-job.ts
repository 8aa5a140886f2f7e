import { HypervisorError } from '../../errors.js';
import type { SessionRecord } from '../session-record.js';
import type { RunningBackup } from './backup-xml.js';
import { type JobDetails, jobDetails } from './job-details.js';
import type { LibvirtConnection } from './libvirt-connection.js';
import { pollUntil } from './poll-until.js';

/** How long a job that is ending may take until the next one begins; libvirt itself would wait 30 s. */
const ENDING_MS = 5000;
/** How long libvirtd may be away, e.g. restarting, while a job is confirmed. QEMU goes on without it. */
const AWAY_MS = 20_000;

/** Whether the job that runs is the one of the record: its socket and scratch files carry the run's name. */
export function isOwnJob(backup: RunningBackup | undefined, details: JobDetails): boolean {
  if (backup?.server === undefined) return false;
  const scratch = new Map(backup.disks.map(disk => [disk.name, disk.scratch]));
  return (
    sameServer(backup.server, details.server) &&
    details.scratch.every(({ disk, path }) => scratch.get(disk) === path)
  );
}

function sameServer(a: NonNullable<RunningBackup['server']>, b: JobDetails['server']): boolean {
  if (a.kind === 'unix') return b.kind === 'unix' && a.socket === b.socket;
  return b.kind === 'tcp' && a.host === b.host && a.port === b.port;
}

/** @throws HypervisorError JOB_LOST unless the very job of the record runs; HYPERVISOR_UNREACHABLE. */
export async function confirmJob(connection: LibvirtConnection, record: SessionRecord): Promise<void> {
  let unreachable: unknown;
  const isAnswered = await pollUntil(async () => {
    try {
      await confirmOnce(connection, record);
      return true;
    } catch (error) {
      if (!isUnreachable(error)) throw error;
      unreachable = error;
      return false;
    }
  }, AWAY_MS);
  if (!isAnswered) throw unreachable;
}

export function isUnreachable(error: unknown): boolean {
  return error instanceof HypervisorError && error.code === 'HYPERVISOR_UNREACHABLE';
}

/**
 * What libvirt says of completed jobs is not asked: a cancelled one counts as successful there.
 * @throws HypervisorError JOB_LOST.
 */
export async function confirmOnce(connection: LibvirtConnection, record: SessionRecord): Promise<void> {
  const why = await whyLost(connection, record);
  if (why === undefined) return;
  throw new HypervisorError('JOB_LOST', `the backup job of ${record.guest.name} is lost: ${why}`, {
    hint: 'what was read may be of another time and is not used; begin again',
    retryable: true,
  });
}

async function whyLost(connection: LibvirtConnection, record: SessionRecord): Promise<string | undefined> {
  const details = jobDetails(record);
  const uuid = domainOf(record);
  try {
    const id = (await connection.virsh.domain(uuid, 'domid')).trim();
    if (id === '-') return 'the guest was shut down';
    if (id !== String(details.domainId)) return 'the guest was started again since';
    const backup = await connection.backup(uuid);
    if (backup === undefined) return 'it ended';
    if (!isOwnJob(backup, details)) return 'another job runs instead';
    const job = await connection.job(uuid);
    return job.isActive && job.operation === 'backup'
      ? undefined
      : 'libvirt does not call it active any more';
  } catch (error) {
    if (error instanceof HypervisorError && error.code === 'GUEST_UNKNOWN') return 'the domain is gone';
    throw error;
  }
}

/** What the record's domain is asked for by: its uuid. */
export function domainOf(record: SessionRecord): string {
  return record.guest.id ?? record.guest.name;
}

/**
 * Waits a moment for a job that is just ending. @throws HypervisorError JOB_CONFLICT when one goes on: libvirt
 * would let the next one wait 30 s for nothing.
 */
export async function waitForNoJob(connection: LibvirtConnection, uuid: string, name: string): Promise<void> {
  let conflict: HypervisorError | undefined;
  const isFree = await pollUntil(async () => {
    const job = await connection.job(uuid);
    const backup = await connection.backup(uuid);
    conflict = jobConflict(name, job.operation, backup);
    return !job.isActive && backup === undefined;
  }, ENDING_MS);
  if (!isFree && conflict !== undefined) throw conflict;
}

function jobConflict(name: string, operation: string, backup: RunningBackup | undefined): HypervisorError {
  const run = backup?.runs[0];
  const what = run === undefined ? `a job (${operation}) that is not nbdelta's` : `run ${run} of nbdelta`;
  return new HypervisorError('JOB_CONFLICT', `domain ${name} is busy with ${what}; it was not touched`, {
    hint:
      run === undefined
        ? 'wait until it has ended; see `virsh domjobinfo`'
        : 'another backup or session uses the guest; if it died: nbdelta recover',
    retryable: true,
    fields: { operation, ...(run === undefined ? {} : { run }) },
  });
}
