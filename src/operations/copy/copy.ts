import { AbortedError } from '../../errors.js';
import { ancestryOf } from '../../repository/chain.js';
import type { MachineLock } from '../../repository/lock.js';
import type { MachineStore } from '../../repository/machine-store.js';
import type { Point } from '../../repository/manifest.js';
import type { Repository } from '../../repository/repository.js';
import { refuseUnreadable } from '../merge/merge.js';
import { openRepository, useRepository } from '../open-repository.js';
import type { ProgressListener } from '../progress.js';
import { withMachineLock } from '../with-machine-lock.js';
import { planCopy } from './copy-plan.js';
import { copyPoint } from './copy-point.js';

export interface CopyOptions {
  readonly repository: string | Repository;
  /** `MACHINE`: all its points; `MACHINE@POINT`: that one, with everything that it builds on. */
  readonly point: string;
  /** The other repository; it is made when there is none. */
  readonly to: string | Repository;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ProgressListener | undefined;
  /** Told before each point. */
  readonly onPoint?: ((id: string, index: number, count: number) => void) | undefined;
}

/** What a copy did. Bytes. */
export interface CopyResult {
  readonly machine: string;
  /** Ids of the points that were copied, in this order. */
  readonly copied: readonly string[];
  /** Ids of those that the other repository had. */
  readonly present: readonly string[];
  readonly bytes: number;
  readonly warnings: readonly { readonly code: string; readonly text: string }[];
  readonly elapsedMs: number;
}

/**
 * Copies points to another repository: frames untouched, manifests byte for byte, each point checked before it is committed,
 * parents first. What is there already is left; an interrupted copy goes on where it was. Backups of the machine
 * can go on in either repository, but not in both.
 * @throws NbdeltaError of any code in `docs/errors.md`; points that were committed before stay.
 */
export async function copy(options: CopyOptions): Promise<CopyResult> {
  const started = performance.now();
  const repository = await useRepository(options.repository);
  await using source = await holdSource(repository, options.point);
  const target =
    typeof options.to === 'string' ? await openRepository(options.to, { create: true }) : options.to;
  const machine = target.machine(source.machine.name);
  const warnings: { code: string; text: string }[] = [];
  const late = {
    afterCommit: async (code: string, work: () => Promise<void>) => {
      await work().catch(error => warnings.push({ code, text: String(error) }));
    },
  };
  const done = await withMachineLock(machine, 'copy', late, lock => copyAll(source, machine, lock, options));
  return { machine: machine.name, ...done, warnings, elapsedMs: performance.now() - started };
}

interface Source extends AsyncDisposable {
  readonly machine: MachineStore;
  readonly points: readonly Point[];
}

async function holdSource(repository: Repository, spec: string): Promise<Source> {
  if (spec.includes('@')) {
    const held = await repository.hold(spec, 'copy');
    const points = ancestryOf(held.points, held.point);
    return { machine: held.machine, points, [Symbol.asyncDispose]: () => held[Symbol.asyncDispose]() };
  }
  const machine = await repository.openMachine(spec);
  const lease = await machine.takeReaderLease('copy');
  try {
    const list = await machine.listPoints();
    refuseUnreadable(machine.name, list);
    return { machine, points: list.points, [Symbol.asyncDispose]: () => lease.release() };
  } catch (error) {
    await lease.release();
    throw error;
  }
}

async function copyAll(
  source: Source,
  target: MachineStore,
  lock: MachineLock,
  { signal, onProgress, onPoint }: CopyOptions,
): Promise<Pick<CopyResult, 'copied' | 'present' | 'bytes'>> {
  await adoptMachine(source.machine, target, lock);
  const list = await target.listPoints();
  refuseUnreadable(target.name, list);
  const { missing, present } = planCopy(source.points, list.points);
  const copied: string[] = [];
  let bytes = 0;
  for (const [index, point] of missing.entries()) {
    checkSignal(signal, copied.length, missing.length);
    onPoint?.(point.manifest.id, index, missing.length);
    bytes += await copyPoint(point, { from: source.machine, to: target, lock, signal, onProgress });
    copied.push(point.manifest.id);
  }
  // Merged points bring what they replace to its end there, too.
  await target.removePoints(lock);
  return { copied, present, bytes };
}

function checkSignal(signal: AbortSignal | undefined, done: number, count: number): void {
  if (!signal?.aborted) return;
  throw new AbortedError(
    'copy',
    signal.reason,
    `${done} of ${count} points were copied; the next copy goes on`,
  );
}

/** @throws RepositoryError MACHINE_MISMATCH when the other repository has another guest under this name. */
async function adoptMachine(from: MachineStore, to: MachineStore, lock: MachineLock): Promise<void> {
  const record = await from.readRecord();
  if (record === null) return;
  const disks = Object.entries(record.disks).map(([name, { source }]) => ({ name, source }));
  await to.identify(lock, { id: record.id, disks });
}
