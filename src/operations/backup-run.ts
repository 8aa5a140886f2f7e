import { createHash } from 'node:crypto';
import { type FramePool, openFramePool } from '../codec/frame-pool.js';
import { AbortedError, type ErrorCode, errorLine, NbdeltaError, toNbdeltaError } from '../errors.js';
import type { NbdClient } from '../nbd/client/client.js';
import type { MachineLock } from '../repository/lock.js';
import type { MachineIdentity } from '../repository/machine-record.js';
import type { MachineStore } from '../repository/machine-store.js';
import type { DiskEntry, Manifest, Point } from '../repository/manifest.js';
import type { PointList } from '../repository/point-list.js';
import type { PointWriter } from '../repository/point-writer.js';
import {
  backUpDisk,
  connectDisk,
  type DiskChanges,
  type DiskJob,
  describeDisk,
  findChanges,
} from './backup-disk.js';
import { buildManifest, type Preparation, type Warning } from './backup-manifest.js';
import type { CheckedOptions } from './backup-options.js';
import { describeSource } from './machine-source.js';
import { openBase, planRun, type RunPlan } from './plan-run.js';
import { StoreBuffers } from './store-disk.js';

/** One backup, from the open connections to the committed point. */
export class BackupRun implements AsyncDisposable {
  readonly #options: CheckedOptions;
  readonly #startedAt = new Date();
  readonly #clients: NbdClient[] = [];
  /** For all disks: memory that was touched once costs no page faults any more. */
  #buffers: StoreBuffers | undefined;
  /** What went wrong after the commit. */
  readonly lateWarnings: Warning[] = [];

  constructor(options: CheckedOptions) {
    this.#options = options;
  }

  async connect(): Promise<void> {
    for (const disk of this.#options.disks) this.#clients.push(await connectDisk(disk, this.#options));
  }

  /** Polite on every path: a QEMU may crash when its server stops under a connected client. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#clients.map(client => client.close()));
  }

  /**
   * Decides on the level, reads and stores all disks, and commits.
   * @param lock the machine's: whoever took it releases it.
   */
  async store(machine: MachineStore, lock: MachineLock): Promise<Point> {
    const point = await this.#storeLocked(machine, lock);
    await this.afterCommit('record-not-updated', () => machine.recordCommitted(lock, point));
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

  async #storeLocked(machine: MachineStore, lock: MachineLock): Promise<Point> {
    const { kept } = await machine.removeIncomplete(lock);
    const list = await machine.listPoints();
    const { plan, jobs, parent } = await planRun(machine, list, this.#options, this.#clients);
    await machine.checkIdentity(this.#identity(), { ...this.#startsChain, ...(parent && { parent }) });
    return await this.#storePoint(machine, lock, { list, plan, kept }, { plan, jobs, parent });
  }

  get #startsChain(): { readonly startsChain: boolean } {
    return { startsChain: this.#options.level === 'full' };
  }

  #identity(): MachineIdentity {
    const { machineId, disks } = this.#options;
    return {
      id: machineId ?? null,
      disks: disks.map(disk => ({ name: disk.name, source: disk.source ?? describeSource(disk.uri) })),
    };
  }

  async #storePoint(
    machine: MachineStore,
    lock: MachineLock,
    before: Preparation,
    planned: RunPlan,
  ): Promise<Point> {
    await using point = await machine.beginPoint(lock);
    await using pool = openFramePool({
      codec: this.#options.codec,
      ...(this.#options.threads !== undefined && { threads: this.#options.threads }),
    });
    const { jobs } = planned;
    // What a bitmap says changed may be nothing: then no thread is needed.
    if (jobs.some(({ plan }) => plan.method !== 'bitmap')) pool.warmUp();
    const changes = await this.#findAllChanges(machine, before.list, planned, pool);
    this.#options.onStep?.('mapped');
    const entries = await this.#storeAll(jobs, changes, point, pool);
    if (entries.every(entry => entry.status === 'failed')) throw allFailed(entries);
    const files = await this.#putFiles(point);
    this.#options.onStep?.('stored');
    await this.#options.confirm?.();
    if (this.#options.signal?.aborted) throw new AbortedError('backup', this.#options.signal.reason);
    const record = await machine.identify(lock, this.#identity(), this.#startsChain);
    const [startedAt, options, clients] = [this.#startedAt, this.#options, this.#clients];
    const compared = changes.flatMap(each => (each instanceof NbdeltaError ? [] : each.warnings));
    const manifest = buildManifest({
      ...{ id: point.id, startedAt, before, record, options, disks: entries, files, compared, clients },
    });
    // Awaited here: returning the promise itself would dispose of the point before it is committed.
    const committed = await point.commit(manifest);
    this.#options.onStep?.('committed');
    return committed;
  }

  /** What defines the guest, beside its disks. */
  async #putFiles(point: PointWriter): Promise<Manifest['files']> {
    const files = (await this.#options.files?.()) ?? [];
    for (const { name, bytes } of files) await point.putFile(name, bytes);
    return files.map(({ name, bytes }) => ({
      name,
      bytes: bytes.length,
      sha256: createHash('sha256').update(bytes).digest('hex'),
    }));
  }

  /** Of all disks first: a bitmap that cannot be read fails the backup before the first byte is stored. */
  async #findAllChanges(
    machine: MachineStore,
    list: PointList,
    { jobs, parent }: RunPlan,
    pool: FramePool,
  ): Promise<readonly (DiskChanges | NbdeltaError)[]> {
    const changes: (DiskChanges | NbdeltaError)[] = [];
    for (const job of jobs) {
      const open = () => openBase(machine, list, parent!, job.disk.name);
      changes.push(await this.#tolerating(job, () => findChanges(job, open, pool, this.#options)));
    }
    return changes;
  }

  /**
   * One disk after another. While one is read, the archive of the one before is brought to storage: where that takes long,
   * nothing waits for it but the end.
   */
  async #storeAll(
    jobs: readonly DiskJob[],
    changes: readonly (DiskChanges | NbdeltaError)[],
    point: PointWriter,
    pool: FramePool,
  ): Promise<readonly DiskEntry[]> {
    const finishing: Promise<DiskEntry>[] = [];
    let failure: { readonly error: unknown } | undefined;
    for (const [index, job] of jobs.entries()) {
      if (failure) break;
      try {
        const stored = await this.#storeOne(job, changes[index]!, point, pool);
        const finished = stored.finish();
        finished.catch(error => {
          failure ??= { error };
        });
        finishing.push(finished);
      } catch (error) {
        failure ??= { error };
      }
    }
    // Whatever happened, nothing is under way any more when this ends.
    await Promise.allSettled(finishing);
    if (failure) throw failure.error;
    return await Promise.all(finishing);
  }

  /** With what is still to be done for it. */
  async #storeOne(
    job: DiskJob,
    changes: DiskChanges | NbdeltaError,
    point: PointWriter,
    pool: FramePool,
  ): Promise<{ finish(): Promise<DiskEntry> }> {
    this.#buffers ??= new StoreBuffers(pool, this.#options.frameSize);
    const buffers = this.#buffers;
    const stored =
      changes instanceof NbdeltaError
        ? changes
        : await this.#tolerating(job, () => backUpDisk(job, changes, point, pool, buffers, this.#options));
    if (!(stored instanceof NbdeltaError)) return stored;
    this.#buffers = undefined;
    const error = { code: stored.code, message: errorLine(stored) };
    const entry: DiskEntry = { ...describeDisk(job), status: 'failed', readBytes: 0, error };
    return { finish: async () => entry };
  }

  /** With `allowPartial` a disk whose export failed becomes a value; what is wrong with us or the repository does not. */
  async #tolerating<Result>(job: DiskJob, work: () => Promise<Result>): Promise<Result | NbdeltaError> {
    try {
      return await work();
    } catch (error) {
      const known = withDisk(error, job.disk.name);
      if (!this.#options.allowPartial || !known.code.startsWith('NBD_')) throw known;
      return known;
    }
  }
}

function withDisk(error: unknown, disk: string): NbdeltaError {
  const known = toNbdeltaError(error);
  if (known.message.includes(disk)) return known;
  return new NbdeltaError(known.code, `disk ${disk}: ${known.message}`, {
    cause: known,
    ...(known.hint !== undefined && { hint: known.hint }),
    retryable: known.retryable,
    fields: { ...known.fields, disk },
  });
}

function allFailed(entries: readonly DiskEntry[]): NbdeltaError {
  const first = entries.find(entry => entry.status === 'failed');
  const said = first ? `: ${first.error.message}` : '';
  const code = (first?.error.code ?? 'NBD_COMMAND_FAILED') as ErrorCode;
  return new NbdeltaError(code, `every disk failed${said}`, {
    hint: 'nothing was committed; see the first error',
  });
}
