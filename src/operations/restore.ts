import { rmdir } from 'node:fs/promises';
import type { Writable } from 'node:stream';
import type { OpenChain } from '../chain/open-chain.js';
import { zeroRanges } from '../chain/zero-ranges.js';
import type { FramePool } from '../codec/frame-pool.js';
import { AbortedError, errorLine, NbdeltaError, toNbdeltaError, UsageError } from '../errors.js';
import type { Repository, ResolvedPoint } from '../repository/repository.js';
import { openHeldDisk } from './open-held-disk.js';
import { useRepository } from './open-repository.js';
import { isNbdUri, openTarget, type TargetFormat } from './open-target.js';
import { planTargets, type TargetPlan } from './plan-targets.js';
import type { ProgressListener } from './progress.js';
import { openReadingPool } from './reading-pool.js';
import { restoreDisk } from './restore-disk.js';
import { streamDisk } from './stream-disk.js';
import { makeTargetFolder, targetFailed } from './targets/new-file.js';
import type { RestoreTarget } from './targets/restore-target.js';

export interface RestoreOptions {
  readonly repository: string | Repository;
  /** `MACHINE[@POINT]`: `latest` (default), an id, a unique prefix, or a time. */
  readonly point: string;
  /** One disk; without it all disks go into the folder `to`. */
  readonly disk?: string | undefined;
  /** File, block device, NBD URI, `-` (with `output`); a folder when `disk` is not given. */
  readonly to: string;
  readonly format?: TargetFormat | undefined;
  /** Disks that go into a folder get the format they were read from, where it is one that we write; else qcow2. */
  readonly keepFormats?: boolean | undefined;
  readonly force?: boolean | undefined;
  /** Where `-` goes. */
  readonly output?: Writable | undefined;
  readonly threads?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ProgressListener | undefined;
}

/** What was restored where. Bytes. */
export interface RestoredDisk {
  readonly disk: string;
  readonly target: string;
  readonly size: number;
  /** What the target has beyond the disk's end, and still has: its content there was not touched. */
  readonly beyond: number;
  /** Points that its content came from, oldest first. */
  readonly chain: readonly string[];
}

export interface RestoreResult {
  readonly machine: string;
  readonly point: string;
  readonly disks: readonly RestoredDisk[];
  readonly elapsedMs: number;
}

/**
 * Restores one disk or all disks of a point. Everything is verified on the way: a frame that does not match its
 * digest is an error naming point, disk and range. All chains are opened before a target is touched.
 */
export async function restore(options: RestoreOptions): Promise<RestoreResult> {
  const started = performance.now();
  const repository = await useRepository(options.repository);
  await using resolved = await repository.hold(options.point, 'restore');
  const plan = await planTargets(options, resolved.point.manifest);
  await using pool = openReadingPool(options.threads);
  pool.warmUp();
  await using opened = await openChains(resolved, plan, options.signal);
  const disks = await restoreAll(opened.chains, plan, pool, options);
  const { machine, point } = resolved;
  return { machine: machine.name, point: point.manifest.id, disks, elapsedMs: performance.now() - started };
}

async function restoreAll(
  chains: readonly OpenChain[],
  { folder, targets }: TargetPlan,
  pool: FramePool,
  options: RestoreOptions,
): Promise<RestoredDisk[]> {
  if (folder) await makeTargetFolder(folder.path);
  const disks: RestoredDisk[] = [];
  try {
    for (const [index, chain] of chains.entries()) {
      disks.push(await restoreOne(chain, targets[index]!.path, pool, options));
    }
    return disks;
  } catch (error) {
    const isOurs = folder?.exists === false && disks.length === 0;
    const first = isOurs ? await removeEmptyFolder(folder.path, error) : error;
    throw first instanceof AbortedError ? stopped(first, options.to, disks) : first;
  }
}

/** Removes the folder that we made, unless something is in it. @returns the error to end with. */
async function removeEmptyFolder(path: string, error: unknown): Promise<unknown> {
  try {
    await rmdir(path);
    return error;
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOTEMPTY' || code === 'EEXIST' || code === 'ENOENT') return error;
    return alsoFailed(error, targetFailed('remove folder', path, cause));
  }
}

/** The error of a restore that was stopped on request, saying what it left. */
function stopped(error: AbortedError, to: string, disks: readonly RestoredDisk[]): AbortedError {
  const complete = `complete: ${disks.map(disk => disk.target).join(', ')}`;
  const left = disks.length > 0 ? complete : (error.left ?? `nothing was left at ${to}`);
  return new AbortedError('restore', error.cause, left);
}

/** What a stopped restore leaves where it does not write a file of its own. */
function leftInPlace(error: unknown, left: string): unknown {
  return error instanceof AbortedError ? new AbortedError('restore', error.cause, left) : error;
}

async function openChains(
  resolved: ResolvedPoint,
  plan: TargetPlan,
  signal: AbortSignal | undefined,
): Promise<AsyncDisposable & { readonly chains: readonly OpenChain[] }> {
  const chains: OpenChain[] = [];
  const dispose = async () => {
    for (const chain of chains) await chain[Symbol.asyncDispose]();
  };
  try {
    for (const { disk } of plan.targets) chains.push(await openHeldDisk(resolved, disk, { signal }));
  } catch (error) {
    await dispose();
    throw error;
  }
  return { chains, [Symbol.asyncDispose]: dispose };
}

async function restoreOne(
  chain: OpenChain,
  to: string,
  pool: FramePool,
  options: RestoreOptions,
): Promise<RestoredDisk> {
  const { signal } = options;
  const result = { disk: chain.disk, size: chain.size, chain: chain.links.map(link => link.point.id) };
  if (to === '-') {
    if (!options.output) throw new UsageError('restore to "-" needs an output stream');
    const onProgress = report(options, chain, chain.size);
    try {
      await streamDisk({ chain, output: options.output, pool, signal, onProgress });
    } catch (error) {
      throw leftInPlace(error, 'what was written to stdout is not complete');
    }
    return { ...result, target: '-', beyond: 0 };
  }
  const target = await openTarget(to, chain.size, {
    format: options.format,
    force: options.force ?? false,
    signal,
  });
  try {
    const total = target.zeroed ? dataBytes(chain) : chain.size;
    const onProgress = report(options, chain, total);
    await restoreDisk({ chain, target, pool, signal, onProgress });
    options.onProgress?.({ phase: 'finish', disk: chain.disk, done: total, total });
    await target.finish();
  } catch (error) {
    const first = await giveUp(target, error);
    const isInPlace = isNbdUri(to) || !target.zeroed;
    throw isInPlace ? leftInPlace(first, `${target.description} is overwritten in part`) : first;
  }
  const beyond = Math.max(0, (target.capacity ?? chain.size) - chain.size);
  return { ...result, target: target.description, beyond };
}

/** The error to end with: what went wrong first. A clean-up that fails as well is told, but hides nothing. */
async function giveUp(target: RestoreTarget, error: unknown): Promise<unknown> {
  try {
    await target.abort();
    return error;
  } catch (second) {
    return alsoFailed(error, second);
  }
}

function alsoFailed(error: unknown, second: unknown): NbdeltaError {
  const { code, message, hint, fields } = toNbdeltaError(error);
  const options = { cause: error, fields, ...(hint !== undefined && { hint }) };
  return new NbdeltaError(code, `${message}; then, cleaning up: ${errorLine(second)}`, options);
}

function report(options: RestoreOptions, { disk }: OpenChain, total: number) {
  return (done: number) => options.onProgress?.({ phase: 'data', disk, done, total });
}

/** Bytes that have to be written where everything else reads as zero already. */
function dataBytes(chain: OpenChain): number {
  let zero = 0;
  for (const range of zeroRanges(chain)) zero += range.length;
  return chain.size - zero;
}
