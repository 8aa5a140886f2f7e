import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { type OpenChain, openChainArchives } from '../chain/open-chain.js';
import { zeroRanges } from '../chain/zero-ranges.js';
import { parseCodec } from '../codec/codec-spec.js';
import { type FramePool, openFramePool } from '../codec/frame-pool.js';
import { errorLine, NbdeltaError, toNbdeltaError, UsageError } from '../errors.js';
import { openRepository, type Repository, type ResolvedPoint } from '../repository/repository.js';
import { isNbdUri, openTarget, type TargetFormat } from './open-target.js';
import type { ProgressListener } from './progress.js';
import { restoreDisk } from './restore-disk.js';
import { streamDisk } from './stream-disk.js';
import { makeTargetFolder } from './targets/new-file.js';
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
  const repository =
    typeof options.repository === 'string' ? await openRepository(options.repository) : options.repository;
  const resolved = await repository.resolve(options.point);
  const plan = planTargets(options, resolved);
  await using opened = await openChains(resolved, plan);
  await using pool = openFramePool({
    codec: parseCodec('none'),
    ...(options.threads !== undefined && { threads: options.threads }),
  });
  if (plan.folder) await makeTargetFolder(options.to);
  const disks: RestoredDisk[] = [];
  for (const [index, chain] of opened.chains.entries()) {
    disks.push(await restoreOne(chain, plan.targets[index]!.path, pool, options));
  }
  const { machine, point } = resolved;
  return { machine: machine.name, point: point.manifest.id, disks, elapsedMs: performance.now() - started };
}

interface TargetPlan {
  /** Whether `to` is a folder that gets one file for each disk. */
  readonly folder: boolean;
  readonly targets: readonly { readonly disk: string; readonly path: string }[];
}

function planTargets(options: RestoreOptions, { point }: ResolvedPoint): TargetPlan {
  const disks = point.manifest.disks.map(disk => disk.name);
  if (options.to === '') throw new UsageError('restore to what? --to is empty');
  if (options.disk !== undefined) {
    return { folder: false, targets: [{ disk: options.disk, path: options.to }] };
  }
  if (options.to === '-' || isNbdUri(options.to)) {
    const only = disks[0]!;
    if (disks.length === 1) return { folder: false, targets: [{ disk: only, path: options.to }] };
    throw new UsageError(`${options.to} takes one disk, the point has ${disks.length}`, {
      hint: `say which: --disk ${disks.join(' | --disk ')}`,
    });
  }
  const suffix = options.format ?? 'raw';
  return {
    folder: true,
    targets: disks.map(disk => ({ disk, path: join(options.to, `${disk}.${suffix}`) })),
  };
}

async function openChains(
  { machine, points, point }: ResolvedPoint,
  plan: TargetPlan,
): Promise<AsyncDisposable & { readonly chains: readonly OpenChain[] }> {
  const chains: OpenChain[] = [];
  const dispose = async () => {
    for (const chain of chains) await chain[Symbol.asyncDispose]();
  };
  try {
    for (const { disk } of plan.targets) {
      const links = await machine.openChain(points, point.manifest.id, disk);
      chains.push(await openChainArchives(machine, links));
    }
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
    await streamDisk({ chain, output: options.output, pool, signal, onProgress });
    return { ...result, target: '-' };
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
    throw await giveUp(target, error);
  }
  return { ...result, target: target.description };
}

/** The error to end with: what went wrong first. A clean-up that fails as well is told, but hides nothing. */
async function giveUp(target: RestoreTarget, error: unknown): Promise<unknown> {
  try {
    await target.abort();
    return error;
  } catch (second) {
    const { code, message, hint, fields } = toNbdeltaError(error);
    const options = { cause: error, fields, ...(hint !== undefined && { hint }) };
    return new NbdeltaError(code, `${message}; then, cleaning up: ${errorLine(second)}`, options);
  }
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
