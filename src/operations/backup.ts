import { type FramePool, openFramePool } from '../codec/frame-pool.js';
import { AbortedError, type ErrorCode, errorLine, NbdeltaError, toNbdeltaError } from '../errors.js';
import type { ExtentList } from '../extents/extent-list.js';
import type { NbdClient } from '../nbd/client/client.js';
import { type LevelPlan, planLevel } from '../repository/level.js';
import type { MachineLock } from '../repository/lock.js';
import type { MachineIdentity, MachineRecord } from '../repository/machine-record.js';
import type { KeptLeftover, MachineStore } from '../repository/machine-store.js';
import type { DiskEntry, Manifest, Point } from '../repository/manifest.js';
import type { PointList } from '../repository/point-list.js';
import { chainPoints, nextSequence, type UnreadablePoint } from '../repository/point-order.js';
import type { PointWriter } from '../repository/point-writer.js';
import { openRepository } from '../repository/repository.js';
import {
  backUpDisk,
  bitmapState,
  connectDisk,
  type DiskJob,
  describeDisk,
  mapDisk,
  planJob,
} from './backup-disk.js';
import { type BackupOptions, type CheckedOptions, checkBackupOptions } from './backup-options.js';
import { withCleanUp } from './clean-up.js';
import { describeSource } from './machine-source.js';
import { readSoftware } from './software.js';

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
  const { manifest } = await run.store(repository.machine(checked.machine));
  const warnings = [...manifest.warnings, ...run.lateWarnings];
  return { machine: checked.machine, point: manifest, warnings, elapsedMs: performance.now() - started };
}

type Warning = Manifest['warnings'][number];

/** What is known before the first byte is read. */
interface Preparation {
  readonly list: PointList;
  readonly plan: LevelPlan;
  /** Leftovers of killed runs that were not removed. */
  readonly kept: readonly KeptLeftover[];
}

/** One backup, from the open connections to the committed point. */
class BackupRun implements AsyncDisposable {
  readonly #options: CheckedOptions;
  readonly #startedAt = new Date();
  readonly #clients: NbdClient[] = [];
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

  /** Decides on the level, reads and stores all disks, and commits. */
  async store(machine: MachineStore): Promise<Point> {
    const lock = await machine.lock('backup', { create: true });
    let point: Point;
    try {
      point = await this.#storeLocked(machine, lock);
    } catch (error) {
      throw await withCleanUp(error, async () => {
        await lock.release();
        await machine.removeIfEmpty();
      });
    }
    await this.#afterCommit('record-not-updated', () => machine.recordCommitted(lock, point));
    await this.#afterCommit('lock-not-released', () => lock.release());
    return point;
  }

  /** The point exists: whatever fails now is a warning, or the caller would take the backup for failed. */
  async #afterCommit(code: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.lateWarnings.push({ code, text: `after the commit: ${errorLine(error)}` });
    }
  }

  async #storeLocked(machine: MachineStore, lock: MachineLock): Promise<Point> {
    const { kept } = await machine.removeIncomplete(lock);
    const list = await machine.listPoints();
    const { plan, jobs, parent } = this.#plan(list, await this.#findTorn(machine, list));
    await machine.checkIdentity(this.#identity(), { ...this.#startsChain, ...(parent && { parent }) });
    return await this.#storePoint(machine, lock, { list, plan, kept }, jobs);
  }

  /** Points of the chain that would be built on whose files are not all there. */
  async #findTorn(machine: MachineStore, { points }: PointList): Promise<UnreadablePoint[]> {
    const { level } = this.#options;
    if (level === 'full' || level === 'copy') return [];
    const bases = chainPoints(points).filter(
      point => level !== 'differential' || point.manifest.level === 'full',
    );
    const parent = bases.at(-1);
    return parent === undefined ? [] : await machine.findTorn(points, parent);
  }

  get #startsChain(): { readonly startsChain: boolean } {
    return { startsChain: this.#options.level === 'full' };
  }

  #plan(
    list: PointList,
    torn: readonly UnreadablePoint[],
  ): { plan: LevelPlan; jobs: DiskJob[]; parent: Manifest | undefined } {
    const { disks, level, since, fullEvery, maxChain } = this.#options;
    const plan = planLevel({
      requested: level,
      points: list.points,
      brokenPoints: [...list.unreadable, ...torn],
      ...(since !== undefined && { since }),
      ...(fullEvery !== undefined && { fullEvery }),
      ...(maxChain !== undefined && { maxChain }),
      disks: disks.map((disk, index) => ({
        name: disk.name,
        size: this.#clients[index]!.size,
        bitmap: bitmapState(disk, this.#clients[index]!),
        bitmapName: disk.bitmap,
      })),
    });
    const parent = list.points.find(point => point.manifest.id === plan.parent?.id)?.manifest;
    const jobs = disks.map((disk, index) => planJob(disk, this.#clients[index]!, plan.disks[index]!, parent));
    return { plan, jobs, parent };
  }

  #identity(): MachineIdentity {
    const { machineId, disks } = this.#options;
    return {
      id: machineId ?? null,
      disks: disks.map(disk => ({ name: disk.name, source: describeSource(disk.uri) })),
    };
  }

  async #storePoint(
    machine: MachineStore,
    lock: MachineLock,
    before: Preparation,
    jobs: readonly DiskJob[],
  ): Promise<Point> {
    await using point = await machine.beginPoint(lock);
    await using pool = openFramePool({
      codec: this.#options.codec,
      ...(this.#options.threads !== undefined && { threads: this.#options.threads }),
    });
    const maps = await this.#mapAll(jobs);
    const entries: DiskEntry[] = [];
    for (const [index, job] of jobs.entries()) {
      entries.push(await this.#storeOne(job, maps[index]!, point, pool));
    }
    if (entries.every(entry => entry.status === 'failed')) throw allFailed(entries);
    await this.#options.confirm?.();
    if (this.#options.signal?.aborted) throw new AbortedError('backup', this.#options.signal.reason);
    const record = await machine.identify(lock, this.#identity(), this.#startsChain);
    // Awaited here: returning the promise itself would dispose of the point before it is committed.
    return await point.commit(this.#manifest(before, record, point.id, entries));
  }

  /** All maps first: a bitmap that cannot be read fails the backup before the first byte of data. */
  async #mapAll(jobs: readonly DiskJob[]): Promise<readonly (ExtentList | NbdeltaError)[]> {
    const maps: (ExtentList | NbdeltaError)[] = [];
    for (const job of jobs) {
      maps.push(await this.#tolerating(job, () => mapDisk(job, this.#options)));
    }
    return maps;
  }

  async #storeOne(
    job: DiskJob,
    map: ExtentList | NbdeltaError,
    point: PointWriter,
    pool: FramePool,
  ): Promise<DiskEntry> {
    const stored =
      map instanceof NbdeltaError
        ? map
        : await this.#tolerating(job, () => backUpDisk(job, map, point, pool, this.#options));
    if (!(stored instanceof NbdeltaError)) return stored;
    const error = { code: stored.code, message: errorLine(stored) };
    return { ...describeDisk(job), status: 'failed', readBytes: 0, error };
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

  #manifest(
    { list, plan, kept }: Preparation,
    record: MachineRecord,
    id: string,
    disks: readonly DiskEntry[],
  ): Manifest {
    const { machine, checkpoint } = this.#options;
    return {
      format: 'nbdelta-point',
      version: 1,
      features: [],
      id,
      sequence: nextSequence(list.points, record.sequence),
      machine: { name: machine, id: record.id },
      created: this.#startedAt.toISOString(),
      level: plan.level,
      reason: plan.reason,
      parent: plan.parent,
      since: plan.since,
      checkpoint: checkpoint ?? null,
      partial: disks.some(disk => disk.status === 'failed'),
      replaces: [],
      disks,
      statistics: this.#statistics(disks),
      warnings: [...kept.map(leftoverWarning), ...this.#warnings(disks)],
      software: readSoftware(),
    };
  }

  #statistics(disks: readonly DiskEntry[]): Manifest['statistics'] {
    const archives = disks.flatMap(disk => (disk.status === 'stored' ? [disk.archive] : []));
    const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
    return {
      startedAt: this.#startedAt.toISOString(),
      finishedAt: new Date().toISOString(),
      readBytes: sum(disks.map(disk => disk.readBytes)),
      storedBytes: sum(archives.map(archive => archive.storedBytes)),
      dataBytes: sum(archives.map(archive => archive.dataBytes)),
      zeroBytes: sum(archives.map(archive => archive.zeroBytes)),
    };
  }

  #warnings(disks: readonly DiskEntry[]): Warning[] {
    const failed = disks.flatMap(disk =>
      disk.status === 'failed'
        ? [{ code: 'disk-failed', text: `disk ${disk.name}: ${disk.error.message}` }]
        : [],
    );
    const reconnected = this.#clients.flatMap((client, index) =>
      client.reconnects === 0 ? [] : [reconnectWarning(this.#options.disks[index]!.name, client.reconnects)],
    );
    return [...failed, ...reconnected];
  }
}

/** The export looked the same after the reconnect, but only the job's owner can know that it is the same job. */
function reconnectWarning(disk: string, times: number): Warning {
  const text = `disk ${disk}: connection lost and opened again ${times} times; make sure the backup job was the same throughout`;
  return { code: 'reconnected', text };
}

function leftoverWarning({ id, why }: KeptLeftover): Warning {
  return {
    code: 'leftover-kept',
    text: `the folder of point ${id}, which has no manifest, was kept: ${why}`,
  };
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
