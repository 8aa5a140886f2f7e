import { UsageError } from '../../errors.js';
import type { FrontEnd, Guest } from '../../hypervisor/front-end.js';
import { ownerTag } from '../../hypervisor/run-name.js';
import type { Repository } from '../../repository/repository.js';
import type { BackupResult } from '../backup.js';
import { checkBackupOptions } from '../backup-options.js';
import { StateFolder } from '../journal/state-folder.js';
import { openRepository } from '../open-repository.js';
import { withMachineLock } from '../with-machine-lock.js';
import { openSources } from './front-end-of.js';
import type { GuestBackupOptions } from './guest-backup-options.js';
import { GuestRun } from './guest-run.js';

/**
 * Backs up a guest: begins the hypervisor's backup job, reads and stores its disks as one point, and ends the job.
 *
 * A checkpoint counts only when its point is committed: after the last byte of the last disk the same job is
 * confirmed alive, then the manifest is written, then the job is ended, then superseded checkpoints are dropped. On
 * any failure the new checkpoint is removed, so that the next incremental misses nothing. What a run that died left
 * is put right first.
 * @throws NbdeltaError of any code in `docs/errors.md`.
 */
export async function backupGuest(options: GuestBackupOptions): Promise<BackupResult> {
  const started = performance.now();
  checkTransferOptions(options);
  await using frontEnd = await openSources(options.source, options);
  // The guest first: a mistyped name must not leave an empty repository behind.
  const guest = await frontEnd.inspect(options);
  checkQuiesce(guest, options);
  const repository = await openGiven(options.repository);
  const run = new GuestRun(runParts(options, frontEnd, guest, repository));
  const { manifest } = await withMachineLock(run.machine, 'backup', run, lock => run.execute(lock));
  const warnings = [...manifest.warnings, ...run.lateWarnings];
  return { machine: run.machine.name, point: manifest, warnings, elapsedMs: performance.now() - started };
}

/** What is wrong in the options shows before anything is begun. @throws UsageError */
function checkTransferOptions(options: GuestBackupOptions): void {
  const disks = [{ name: 'disk', uri: 'nbd://localhost' }];
  checkBackupOptions({ ...options, machine: options.machine ?? 'guest', disks });
}

/** Before anything is made: only libvirt reaches a guest agent. @throws UsageError */
function checkQuiesce({ kind }: Guest, { quiesce }: GuestBackupOptions): void {
  if (quiesce === undefined || kind === 'libvirt') return;
  throw new UsageError(`--quiesce needs a guest agent, which ${kind}: does not reach`, {
    hint:
      kind === 'image'
        ? 'this guest is off: leave it out'
        : 'stop the writers with --pre-hook, or use libvirt:',
  });
}

async function openGiven(repository: string | Repository): Promise<Repository> {
  return typeof repository === 'string' ? await openRepository(repository, { create: true }) : repository;
}

function runParts(options: GuestBackupOptions, frontEnd: FrontEnd, guest: Guest, repository: Repository) {
  const machine = repository.machine(options.machine ?? guest.name);
  const owner = machineOwner(repository, machine.name);
  const location = typeof options.repository === 'string' ? options.repository : null;
  return { options, frontEnd, guest, machine, owner, location, state: new StateFolder(options.stateDir) };
}

/** Whose runs a machine's are: told apart from those of other repositories, also of the same guest. */
export function machineOwner(repository: Repository, machine: string): string {
  return ownerTag(repository.description.id, machine);
}
