import type { Guest } from '../../hypervisor/front-end.js';
import type { SessionDisk, SessionRecord } from '../../hypervisor/session-record.js';
import type { BackupDisk, BackupOptions } from '../backup-options.js';
import type { GuestBackupOptions } from './guest-backup-options.js';

type JobOptions = Pick<BackupOptions, 'disks' | 'machineId' | 'since' | 'checkpoint' | 'guest' | 'warnings'>;

/** What a running job says of a backup: its disks, and what they are since. */
export function jobOptions(record: SessionRecord, guest: Guest, options: GuestBackupOptions): JobOptions {
  const { run, kind, since, checkpoint, warnings } = record;
  const { name, id, state, versions } = guest;
  return {
    disks: record.disks.map(disk => backupDisk(disk, record)),
    machineId: options.machineId ?? record.guest.id ?? undefined,
    since: since ?? undefined,
    checkpoint: checkpoint ?? undefined,
    guest: {
      kind,
      name,
      id,
      state,
      run,
      versions,
      quiesced: options.quiesce !== undefined && state !== 'off',
    },
    warnings,
  };
}

function backupDisk(disk: SessionDisk, { since }: SessionRecord): BackupDisk {
  const { name, uri, bitmap, source, format } = disk;
  return {
    ...{ name, uri, format },
    bitmap: bitmap ?? undefined,
    noBitmap: bitmap === null ? (disk.reason ?? noBase(name, since)) : undefined,
    source: source ?? undefined,
    distrustIfResized: true,
  };
}

function noBase(disk: string, since: string | null) {
  const text =
    since === null
      ? 'the guest has no checkpoint of a point in this chain'
      : `disk ${disk} has no bitmap of checkpoint ${since}`;
  return { code: since === null ? 'checkpoint-missing' : 'bitmap-missing', text };
}
