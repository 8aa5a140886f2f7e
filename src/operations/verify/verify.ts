import type { Range } from '../../extents/extent-list.js';
import type { Repository } from '../../repository/repository.js';
import { useRepository } from '../open-repository.js';
import type { ProgressListener } from '../progress.js';
import { openReadingPool } from '../reading-pool.js';
import { checkVerifyOptions } from './verify-options.js';
import { VerifyRun } from './verify-run.js';

export interface VerifyOptions {
  readonly repository: string | Repository;
  /** `MACHINE[@POINT]`; a machine alone means all its points, nothing means the whole repository. */
  readonly point?: string | undefined;
  /** Checks only this share of the frames (above 0, at most 1), chosen at random; everything else is checked as a whole. */
  readonly sample?: number | undefined;
  /** With `sample`: the same seed chooses the same frames. 32 bits; by default another one each time. */
  readonly seed?: number | undefined;
  /** Compares the point (the newest, when only a machine is named) with exports, byte for byte, instead of checking every frame. */
  readonly against?: readonly LiveDisk[] | undefined;
  readonly threads?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ProgressListener | undefined;
}

/** An export that a disk of a point is compared with. */
export interface LiveDisk {
  /** Without it: the only disk of the point. */
  readonly disk?: string | undefined;
  /** NBD URI. */
  readonly uri: string;
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

/** How a disk of a point and an export differ. Bytes. */
export interface DiskComparison {
  readonly disk: string;
  readonly uri: string;
  readonly sizes: { readonly point: number; readonly live: number };
  /** Bytes that were read on both sides; the others are zero on both. */
  readonly compared: number;
  /** In units of 512 bytes, with what only one of them has. */
  readonly differing: number;
  readonly ranges: number;
  /** The first of them, ascending, at most 1000. */
  readonly first: readonly Range[];
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
  /** With `sample`: what chose the frames. */
  readonly seed: number | null;
  /** With `against`. */
  readonly comparisons: readonly DiskComparison[];
  /** Why the verdict could not be written into the repository; `null`: it was. */
  readonly unrecorded: string | null;
  readonly elapsedMs: number;
}

/**
 * Checks every digest: manifests, chains, the presence and size of every volume, indexes, and every frame, stored
 * and decoded, or a sample of them; or compares a point with live exports. It goes on after a problem and lists them all. The
 * verdict on each point is written down beside it.
 */
export async function verify(options: VerifyOptions): Promise<VerifyResult> {
  const started = performance.now();
  checkVerifyOptions(options);
  const repository = await useRepository(options.repository);
  await using pool = openReadingPool(options.threads);
  const run = new VerifyRun(options, pool);
  if (options.against !== undefined) {
    await using held = await repository.hold(options.point!, 'verify');
    await run.comparePoint(held, options.against);
  } else if (options.point?.includes('@')) {
    await using held = await repository.hold(options.point, 'verify');
    await run.checkPointChain(held.machine, held, held.point);
  } else if (options.point !== undefined) {
    await run.checkMachine(await repository.openMachine(options.point));
  } else {
    for (const name of await repository.listMachines()) await run.checkMachine(repository.machine(name));
    for (const { name, error } of await repository.listStrayMachines())
      run.report({ name }, null, null, error);
  }
  const unrecorded = await run.recordVerdicts();
  return { ...run.result(), unrecorded, elapsedMs: performance.now() - started };
}
