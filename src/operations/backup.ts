import type { Manifest } from '../repository/manifest.js';
import { openRepository } from '../repository/repository.js';
import { type BackupOptions, checkBackupOptions } from './backup-options.js';
import { BackupRun } from './backup-run.js';
import { withMachineLock } from './with-machine-lock.js';

/** What a backup did. */
export interface BackupResult {
  readonly machine: string;
  readonly point: Manifest;
  /** Those of the point, and what went wrong after its commit: that does not undo it. */
  readonly warnings: Manifest['warnings'];
  /** Wall time in milliseconds. */
  readonly elapsedMs: number;
}

/**
 * Backs up the disks of one guest as one point: all of them, or no point (`allowPartial` says otherwise).
 * The point exists when its manifest does; whatever goes wrong before leaves the repository as it was.
 * @throws NbdeltaError of any code in `docs/errors.md`.
 */
export async function backup(options: BackupOptions): Promise<BackupResult> {
  const started = performance.now();
  const checked = checkBackupOptions(options);
  await using run = new BackupRun(checked);
  // Sources first: a mistyped URI must not leave an empty repository behind.
  await run.connect();
  const repository =
    typeof checked.repository === 'string'
      ? await openRepository(checked.repository, { create: true })
      : checked.repository;
  const machine = repository.machine(checked.machine);
  const { manifest } = await withMachineLock(machine, 'backup', run, lock => run.store(machine, lock));
  const warnings = [...manifest.warnings, ...run.lateWarnings];
  return { machine: checked.machine, point: manifest, warnings, elapsedMs: performance.now() - started };
}
