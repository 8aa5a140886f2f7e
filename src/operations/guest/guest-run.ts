import { resolve } from 'node:path';
import { errorLine, HypervisorError } from '../../errors.js';
import type { Action, FrontEnd, Guest } from '../../hypervisor/front-end.js';
import { newRunName } from '../../hypervisor/run-name.js';
import type { SessionRecord } from '../../hypervisor/session-record.js';
import type { MachineLock } from '../../repository/lock.js';
import type { MachineStore } from '../../repository/machine-store.js';
import type { Point } from '../../repository/manifest.js';
import { baseCheckpoints, neededCheckpoints } from '../../repository/needed-checkpoints.js';
import { procProbe } from '../../repository/process-identity.js';
import type { Warning } from '../backup-manifest.js';
import { type CheckedOptions, checkBackupOptions } from '../backup-options.js';
import { BackupRun } from '../backup-run.js';
import { withCleanUp } from '../clean-up.js';
import type { JournalEntry } from '../journal/journal-entry.js';
import type { StateFolder } from '../journal/state-folder.js';
import { withDefinitions } from './base-checkpoints.js';
import type { GuestBackupOptions } from './guest-backup-options.js';
import { runHook } from './hooks.js';
import { recoverMachine } from './recover-machine.js';
import { jobOptions } from './session-disks.js';

export interface GuestRunParts {
  readonly options: GuestBackupOptions;
  readonly frontEnd: FrontEnd;
  readonly guest: Guest;
  readonly machine: MachineStore;
  readonly owner: string;
  /** Where the repository is; `null`: only its caller knows. */
  readonly location: string | null;
  readonly state: StateFolder;
}

/** One backup of a guest, from the leftovers of the last one to the end of the job. */
export class GuestRun {
  readonly machine: MachineStore;
  /** What went wrong after the commit. */
  readonly lateWarnings: Warning[] = [];
  readonly #parts: GuestRunParts;
  readonly #name: string;

  constructor(parts: GuestRunParts) {
    this.#parts = parts;
    this.machine = parts.machine;
    this.#name = newRunName(parts.owner).text;
  }

  /** Backs up under the machine's lock; the hooks are around all that concerns the guest. */
  async execute(lock: MachineLock): Promise<Point> {
    const { options, guest } = this.#parts;
    await this.#checkIdentity();
    await this.#recover(lock);
    const env = { NBDELTA_MACHINE: this.machine.name, NBDELTA_GUEST: guest.name, NBDELTA_RUN: this.#name };
    await runHook('pre', options.preHook, env, options.signal);
    let point: Point;
    try {
      point = await this.#backUp(lock);
    } catch (error) {
      throw await withCleanUp(error, () =>
        runHook('post', options.postHook, { ...env, NBDELTA_RESULT: 'failed' }),
      );
    }
    const done = { ...env, NBDELTA_RESULT: 'committed', NBDELTA_POINT: point.manifest.id };
    await this.afterCommit('post-hook-failed', () => runHook('post', options.postHook, done));
    return point;
  }

  /** The point exists: whatever fails now is a warning, or the caller would take the backup for failed. */
  async afterCommit(code: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.lateWarnings.push({ code, text: `after the commit: ${errorLine(error)}` });
    }
  }

  /** Before anything of it is touched: another guest of this name is none of this machine's. */
  async #checkIdentity(): Promise<void> {
    const { guest, options } = this.#parts;
    const disks = guest.disks.map(({ name, source }) => ({ name, source }));
    const identity = { id: options.machineId ?? guest.id, disks };
    await this.machine.checkIdentity(identity, { startsChain: options.level === 'full' });
  }

  async #recover(lock: MachineLock): Promise<void> {
    const { frontEnd, owner, options, state } = this.#parts;
    const recovery = { machine: this.machine, lock, owner, frontEnd, options, state };
    const actions = await recoverMachine(recovery);
    for (const action of actions) options.onRecovered?.(action);
    this.#warnOfLeft(actions);
  }

  async #backUp(lock: MachineLock): Promise<Point> {
    const record = await this.#begin(lock);
    let point: Point;
    try {
      point = await this.#store(record, lock);
    } catch (error) {
      throw await withCleanUp(error, () => this.#abort(record, lock));
    }
    await this.afterCommit('job-not-ended', () => this.#finish(record, lock));
    return point;
  }

  /** Begins the job; the journal is written before anything of it exists. */
  async #begin(lock: MachineLock): Promise<SessionRecord> {
    const { frontEnd, options } = this.#parts;
    const bases = await this.#bases();
    let planned: SessionRecord | undefined;
    try {
      const record = await frontEnd.begin({
        run: this.#name,
        selection: options,
        bases,
        checkpoint: options.level !== 'copy',
        quiesce: options.quiesce,
        lasting: false,
        journal: async current => {
          planned = current;
          await this.#remember(current, lock);
        },
        signal: options.signal,
      });
      options.onStep?.('job-begun');
      return record;
    } catch (error) {
      const begun = planned;
      if (begun === undefined) throw error;
      // The front-end has cleaned up after itself; what it could not remove then may be removable now.
      throw await withCleanUp(error, () => this.#abort(begun, lock));
    }
  }

  /** What an incremental may be taken since. @throws HypervisorError when one was asked for and there is none. */
  async #bases() {
    const { level = 'auto', rescan } = this.#parts.options;
    if (level === 'full' || level === 'copy' || rescan === true) return [];
    const { points } = await this.machine.listPoints();
    const kind = level === 'differential' ? 'differential' : 'incremental';
    return await withDefinitions(this.machine, baseCheckpoints(points, kind));
  }

  async #remember(record: SessionRecord, lock: MachineLock): Promise<void> {
    const { location, state } = this.#parts;
    const entry: JournalEntry = {
      version: 1,
      purpose: 'backup',
      record,
      process: await procProbe.self(),
      repository: location === null ? null : resolve(location),
      machine: this.machine.name,
      expires: null,
    };
    await this.machine.putPending(lock, entry);
    await state.put(entry);
  }

  async #forget(lock: MachineLock): Promise<void> {
    await this.machine.clearPending(lock);
    await this.#parts.state.remove(this.#name);
  }

  /** Reads and stores, while the job is watched; the connections are closed before anybody ends the job. */
  async #store(record: SessionRecord, lock: MachineLock): Promise<Point> {
    const { frontEnd } = this.#parts;
    const trouble = new AbortController();
    using _watch = frontEnd.watch(record, error => trouble.abort(error));
    try {
      await using run = new BackupRun(this.#checked(record, trouble.signal));
      await run.connect();
      const point = await run.store(this.machine, lock);
      this.lateWarnings.push(...run.lateWarnings);
      return point;
    } catch (error) {
      // Whatever broke, broke because of it.
      throw trouble.signal.aborted ? trouble.signal.reason : error;
    }
  }

  #checked(record: SessionRecord, trouble: AbortSignal): CheckedOptions {
    const { options, frontEnd, guest } = this.#parts;
    const signal = options.signal === undefined ? trouble : AbortSignal.any([options.signal, trouble]);
    return checkBackupOptions({
      ...options,
      ...jobOptions(record, guest, options),
      machine: this.machine.name,
      signal,
      files: () => frontEnd.readFiles(record),
      confirm: async () => {
        await options.confirm?.();
        if (trouble.aborted) throw trouble.reason;
        // Last, so that as little time as possible is left in which the job can end before the point is committed.
        await frontEnd.health(record);
      },
    });
  }

  async #abort(record: SessionRecord, lock: MachineLock): Promise<void> {
    const { frontEnd, options } = this.#parts;
    try {
      const actions = await frontEnd.end(record, 'abort');
      for (const action of actions) if (action.what === 'left') options.onLeft?.(action);
    } catch (cause) {
      // The journal stays: the next backup, or `recover`, puts it right. The error that came first is the one thrown.
      const text = `the backup job of run ${record.run} could not be ended: ${errorLine(cause)}`;
      const hint = 'the next backup ends it; or: nbdelta recover';
      options.onLeft?.({ what: 'left', name: record.run, text: `${text}; ${hint}` });
      throw new HypervisorError('HYPERVISOR_FAILED', text, { cause, hint });
    }
    await this.#forget(lock);
  }

  /** The point exists. The job is ended, then superseded checkpoints go. */
  async #finish(record: SessionRecord, lock: MachineLock): Promise<void> {
    const { frontEnd, options } = this.#parts;
    this.#warnOfLeft(await frontEnd.end(record, 'commit'));
    options.onStep?.('job-ended');
    this.#warnOfLeft(await frontEnd.dropCheckpoints(await this.#superseded()));
    options.onStep?.('checkpoints-dropped');
    await this.#forget(lock);
  }

  /** Checkpoints of this machine that no point needs any more; none when a point cannot be read: nobody knows. */
  async #superseded(): Promise<readonly string[]> {
    const { frontEnd, owner } = this.#parts;
    const { points, unreadable } = await this.machine.listPoints();
    if (unreadable.length > 0) return [];
    const needed = new Set(neededCheckpoints(points).map(({ checkpoint }) => checkpoint));
    const ours = await frontEnd.listCheckpoints();
    return ours.filter(name => name.startsWith(`nbdelta-${owner}-`) && !needed.has(name));
  }

  #warnOfLeft(actions: readonly Action[]): void {
    for (const { what, text } of actions) {
      if (what === 'left') this.lateWarnings.push({ code: 'left-behind', text });
    }
  }
}
