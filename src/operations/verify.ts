import { frameCapacity, loadFrame } from '../chain/load-frame.js';
import { nameLink, type OpenChain, openChainArchives } from '../chain/open-chain.js';
import type { FramePool } from '../codec/frame-pool.js';
import { AbortedError, type ErrorCode, errorLine, NbdeltaError, toNbdeltaError } from '../errors.js';
import { type ChainLink, readableAncestry } from '../repository/chain.js';
import type { MachineStore } from '../repository/machine-store.js';
import type { Manifest, Point } from '../repository/manifest.js';
import type { PointList } from '../repository/point-list.js';
import type { Repository } from '../repository/repository.js';
import { BufferSlots } from './buffer-slots.js';
import { checkHeader, checkLayout } from './check-layout.js';
import { useRepository } from './open-repository.js';
import type { ProgressListener } from './progress.js';
import { openReadingPool } from './reading-pool.js';

const FRAMES_IN_FLIGHT = 16;
/** Problems listed for one archive; a file that is wholly destroyed has thousands. */
const MAX_PROBLEMS = 20;

const RECORD_DEFECTS: ReadonlySet<ErrorCode> = new Set(['REPOSITORY_INVALID', 'FORMAT_UNSUPPORTED']);

export interface VerifyOptions {
  readonly repository: string | Repository;
  /** `MACHINE[@POINT]`; a machine alone means all its points, nothing means the whole repository. */
  readonly point?: string | undefined;
  readonly threads?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ProgressListener | undefined;
}

export interface Problem {
  readonly machine: string;
  /** `null`: of the machine as a whole. */
  readonly point: string | null;
  readonly disk: string | null;
  readonly code: string;
  readonly message: string;
}

export interface MissingDisk {
  readonly machine: string;
  readonly point: string;
  readonly disk: string;
}

/** What verify looked at and what it found. Bytes. */
export interface VerifyResult {
  readonly ok: boolean;
  readonly points: number;
  readonly archives: number;
  readonly frames: number;
  readonly bytes: number;
  readonly problems: readonly Problem[];
  /** Disks that failed when their points were taken: nothing of them is there to be checked. No problem. */
  readonly missing: readonly MissingDisk[];
  readonly elapsedMs: number;
}

/**
 * Checks every digest: manifests, chains, the presence and size of every volume, indexes, and every frame, stored
 * and decoded. It goes on after a problem and lists them all.
 */
export async function verify(options: VerifyOptions): Promise<VerifyResult> {
  const started = performance.now();
  const repository = await useRepository(options.repository);
  await using pool = openReadingPool(options.threads);
  const run = new VerifyRun(options, pool);
  if (options.point?.includes('@')) {
    const { machine, point, ...list } = await repository.resolve(options.point);
    await run.checkPointChain(machine, list, point);
  } else if (options.point !== undefined) {
    await run.checkMachine(await repository.openMachine(options.point));
  } else {
    for (const name of await repository.listMachines()) await run.checkMachine(repository.machine(name));
    for (const { name, error } of await repository.listStrayMachines()) run.report(name, error);
  }
  return { ...run.result(), elapsedMs: performance.now() - started };
}

class VerifyRun {
  readonly #options: VerifyOptions;
  readonly #pool: FramePool;
  readonly #problems: Problem[] = [];
  readonly #missing: MissingDisk[] = [];
  readonly #counts = { points: 0, archives: 0, frames: 0, bytes: 0 };

  constructor(options: VerifyOptions, pool: FramePool) {
    this.#options = options;
    this.#pool = pool;
  }

  result(): Omit<VerifyResult, 'elapsedMs'> {
    const found = { problems: this.#problems, missing: this.#missing };
    return { ok: this.#problems.length === 0, ...this.#counts, ...found };
  }

  /** What is wrong with a machine as a whole. */
  report(machine: string, error: unknown): void {
    this.#report({ name: machine }, null, null, error);
  }

  async checkMachine(machine: MachineStore): Promise<void> {
    const list = await this.#listPoints(machine);
    if (list === null) return;
    for (const { id, error } of list.unreadable) this.#report(machine, id, null, error);
    for (const point of list.points) await this.#checkPoint(machine, list, point);
  }

  /** `null`: the machine's record is damaged, or of a newer version; that is a finding like any other. */
  async #listPoints(machine: MachineStore): Promise<PointList | null> {
    try {
      return await machine.listPoints();
    } catch (error) {
      if (!(error instanceof NbdeltaError) || !RECORD_DEFECTS.has(error.code)) throw error;
      this.report(machine.name, error);
      return null;
    }
  }

  /** A point and every point that it builds on: all that a restore of it needs. */
  async checkPointChain(machine: MachineStore, list: PointList, point: Point): Promise<void> {
    for (const each of readableAncestry(list.points, point).toReversed()) {
      await this.#checkPoint(machine, list, each);
    }
  }

  async #checkPoint(machine: MachineStore, list: PointList, point: Point): Promise<void> {
    this.#counts.points++;
    for (const { name } of point.manifest.files) {
      await this.#guard(
        machine,
        point.manifest,
        null,
        async () => void (await machine.readPointFile(point, name)),
      );
    }
    for (const disk of point.manifest.disks) {
      if (disk.status !== 'stored') {
        this.#missing.push({ machine: machine.name, point: point.manifest.id, disk: disk.name });
        continue;
      }
      await this.#guard(machine, point.manifest, disk.name, async () => {
        const links = await machine.openChain(list.points, point.manifest.id, disk.name);
        await this.#checkArchive(machine, links[links.length - 1]!);
      });
    }
  }

  /** Each archive is checked once, in its own point. */
  async #checkArchive(machine: MachineStore, link: ChainLink): Promise<void> {
    await using chain = await openChainArchives(machine, [link]);
    await chain.archives[0]!.checkVolumes();
    await this.#guard(machine, link.point, link.disk.name, () => checkVolumeFiles(machine, chain));
    this.#counts.archives++;
    await this.#checkFrames(machine, chain);
  }

  async #checkFrames(machine: MachineStore, chain: OpenChain): Promise<void> {
    const capacity = frameCapacity(chain);
    const stored = new BufferSlots(FRAMES_IN_FLIGHT, capacity.stored);
    const raw = new BufferSlots(FRAMES_IN_FLIGHT, capacity.raw);
    const { count } = chain.archives[0]!.frames;
    const total = chain.links[0]!.disk.archive.dataBytes;
    const before = this.#counts.bytes;
    const running = new Set<Promise<void>>();
    const failures: unknown[] = [];
    const limit = this.#problems.length + MAX_PROBLEMS;
    for (let frame = 0; frame < count && this.#problems.length < limit; frame++) {
      if (failures.length > 0 || this.#options.signal?.aborted) break;
      const buffers = { stored: await stored.acquire(), raw: await raw.acquire() };
      // A failure waits here until nothing is under way: the archive and the pool are closed after that.
      const work = this.#checkFrame(machine, chain, frame, buffers)
        .finally(() => {
          stored.release(buffers.stored);
          raw.release(buffers.raw);
          running.delete(work);
          this.#options.onProgress?.({
            phase: 'data',
            disk: chain.disk,
            done: this.#counts.bytes - before,
            total,
          });
        })
        .catch(error => void failures.push(error));
      running.add(work);
    }
    await Promise.all(running);
    if (failures.length > 0) throw failures[0];
    this.#checkSignal();
  }

  async #checkFrame(
    machine: MachineStore,
    chain: OpenChain,
    frame: number,
    buffers: { stored: ArrayBuffer; raw: ArrayBuffer },
  ): Promise<void> {
    try {
      // Not `+= await`: that adds to what the count was before the wait, and frames overlap in time.
      const bytes = await loadFrame(chain, 0, frame, buffers, this.#pool);
      this.#counts.bytes += bytes;
      this.#counts.frames++;
    } catch (error) {
      this.#report(machine, chain.point, chain.disk, error);
    }
  }

  async #guard(
    machine: MachineStore,
    point: Manifest,
    disk: string | null,
    work: () => Promise<void>,
  ): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#report(machine, point.id, disk, error);
    }
  }

  /** A stop on request and a defect of ours are no findings: they end the run. */
  #report(
    machine: { readonly name: string },
    point: string | null,
    disk: string | null,
    error: unknown,
  ): void {
    const known = toNbdeltaError(error);
    if (known.code === 'ABORTED' || known.code === 'INTERNAL') throw known;
    this.#problems.push({ machine: machine.name, point, disk, code: known.code, message: errorLine(known) });
  }

  #checkSignal(): void {
    const { signal } = this.#options;
    if (signal?.aborted) throw new AbortedError('verify', signal.reason);
  }
}

/** Headers, tar and pack tables of the one archive of `chain`. */
async function checkVolumeFiles(machine: MachineStore, chain: OpenChain): Promise<void> {
  const { point, disk } = chain.links[0]!;
  const archive = chain.archives[0]!;
  for (const [index, { name }] of disk.archive.volumes.entries()) {
    const reader = await machine.openVolume(point.id, name);
    try {
      checkHeader(await archive.header(index + 1), disk);
      await checkLayout(reader, index + 1, archive);
    } catch (error) {
      throw nameLink(error, machine.name, point.id, disk.name);
    } finally {
      await reader.close();
    }
  }
}
