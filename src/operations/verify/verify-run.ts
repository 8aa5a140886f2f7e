import { randomInt } from 'node:crypto';
import { type OpenChain, openChainArchives } from '../../chain/open-chain.js';
import type { FramePool } from '../../codec/frame-pool.js';
import { type ErrorCode, errorLine, NbdeltaError, toNbdeltaError, UsageError } from '../../errors.js';
import { type ChainLink, readableAncestry } from '../../repository/chain.js';
import type { MachineStore } from '../../repository/machine-store.js';
import type { Manifest, Point } from '../../repository/manifest.js';
import type { PointList } from '../../repository/point-list.js';
import type { HeldForReading } from '../../repository/repository.js';
import { openHeldDisk } from '../open-held-disk.js';
import { checkFrames } from './check-frames.js';
import { checkVolumeFiles } from './check-volume-files.js';
import { compareExport } from './compare-export.js';
import { VerdictBook } from './record-verdicts.js';
import { everyFrame, sampledFrames } from './sample-frames.js';
import type {
  DiskComparison,
  LiveDisk,
  MissingDisk,
  Problem,
  VerifyOptions,
  VerifyResult,
} from './verify.js';

/** Problems listed for one archive; a file that is wholly destroyed has thousands. */
const MAX_PROBLEMS = 20;

const RECORD_DEFECTS: ReadonlySet<ErrorCode> = new Set(['REPOSITORY_INVALID', 'FORMAT_UNSUPPORTED']);

/** One verification: what was looked at so far, and what it found. */
export class VerifyRun {
  readonly #options: VerifyOptions;
  readonly #pool: FramePool;
  readonly #problems: Problem[] = [];
  readonly #missing: MissingDisk[] = [];
  readonly #comparisons: DiskComparison[] = [];
  readonly #verdicts = new VerdictBook();
  readonly #counts = { points: 0, archives: 0, frames: 0, bytes: 0 };
  readonly #seed: number | null;

  constructor(options: VerifyOptions, pool: FramePool) {
    this.#options = options;
    this.#pool = pool;
    this.#seed = options.sample === undefined ? null : (options.seed ?? randomInt(2 ** 32));
  }

  result(): Omit<VerifyResult, 'elapsedMs' | 'unrecorded'> {
    const found = { problems: this.#problems, missing: this.#missing, comparisons: this.#comparisons };
    return { ok: this.#problems.length === 0, ...this.#counts, ...found, seed: this.#seed };
  }

  /** @returns why the verdicts could not be written down; `null` when they were. */
  async recordVerdicts(): Promise<string | null> {
    const { sample, against } = this.#options;
    if (against !== undefined) return await this.#verdicts.record({ how: 'against' });
    return await this.#verdicts.record(
      sample === undefined ? { how: 'all' } : { how: 'sample', share: sample },
    );
  }

  /** Compares disks of a point with exports. What goes wrong on their side ends the run: it is no finding. */
  async comparePoint(held: HeldForReading, disks: readonly LiveDisk[]): Promise<void> {
    const { machine, point } = held;
    this.#counts.points++;
    this.#verdicts.open(machine, point.manifest.id);
    for (const { disk, uri } of disks) {
      const name = disk ?? onlyDisk(point.manifest);
      await using chain = await openHeldDisk(held, name);
      const { signal, onProgress } = this.#options;
      const comparison = await compareExport(chain, uri, {
        ...{ pool: this.#pool, signal },
        onProgress: (done, total) => onProgress?.({ phase: 'data', disk: name, done, total }),
      });
      this.#comparisons.push(comparison);
      this.#counts.archives += chain.archives.length;
      this.#counts.bytes += comparison.compared;
      if (comparison.differing > 0) this.report(machine, point.manifest.id, name, differs(comparison));
    }
  }

  async checkMachine(machine: MachineStore): Promise<void> {
    await using _lease = await machine.takeReaderLease('verify');
    const list = await this.#listPoints(machine);
    if (list === null) return;
    for (const { id, error } of list.unreadable) this.report(machine, id, null, error);
    for (const point of list.points) await this.#checkPoint(machine, list, point);
  }

  /** `null`: the machine's record is damaged, or of a newer version; that is a finding like any other. */
  async #listPoints(machine: MachineStore): Promise<PointList | null> {
    try {
      return await machine.listPoints();
    } catch (error) {
      if (!(error instanceof NbdeltaError) || !RECORD_DEFECTS.has(error.code)) throw error;
      this.report(machine, null, null, error);
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
    this.#verdicts.open(machine, point.manifest.id);
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
    const { signal, onProgress, sample } = this.#options;
    const { frames, archiveId } = chain.archives[0]!;
    const chosen =
      sample === undefined
        ? everyFrame(frames.count)
        : sampledFrames(frames.count, sample, this.#seed!, archiveId);
    const total = Math.round(chain.links[0]!.disk.archive.dataBytes * (sample ?? 1));
    const limit = this.#problems.length + MAX_PROBLEMS;
    let done = 0;
    await checkFrames(chain, chosen, {
      ...{ pool: this.#pool, signal },
      onChecked: bytes => {
        done += bytes;
        this.#counts.bytes += bytes;
        this.#counts.frames++;
        onProgress?.({ phase: 'data', disk: chain.disk, done, total });
      },
      onDamaged: error => {
        this.report(machine, chain.point, chain.disk, error);
        return this.#problems.length < limit;
      },
    });
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
      this.report(machine, point.id, disk, error);
    }
  }

  /** A stop on request and a defect of ours are no findings: they end the run. */
  report(
    machine: { readonly name: string },
    point: string | null,
    disk: string | null,
    error: unknown,
  ): void {
    const known = toNbdeltaError(error);
    if (known.code === 'ABORTED' || known.code === 'INTERNAL') throw known;
    this.#verdicts.count(machine.name, point, known.code);
    this.#problems.push({ machine: machine.name, point, disk, code: known.code, message: errorLine(known) });
  }
}

function onlyDisk({ id, disks }: Manifest): string {
  if (disks.length === 1) return disks[0]!.name;
  throw new UsageError(`point ${id} has ${disks.length} disks: which one is compared?`, {
    hint: `--against DISK=URI; it has: ${disks.map(disk => disk.name).join(', ')}`,
  });
}

function differs({ disk, uri, differing, ranges, first, sizes }: DiskComparison): NbdeltaError {
  const where = `${differing} bytes in ${ranges} range${ranges === 1 ? '' : 's'}, the first at ${first[0]?.offset}`;
  const size = sizes.point === sizes.live ? '' : ` (it has ${sizes.point} bytes, the export ${sizes.live})`;
  return new NbdeltaError('DATA_DIFFERS', `disk ${disk} is not what ${uri} holds: ${where}${size}`);
}
