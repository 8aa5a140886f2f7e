import { writeFile } from 'node:fs/promises';
import type { FramePool } from '../../codec/frame-pool.js';
import { RepositoryError } from '../../errors.js';
import { ancestryOf } from '../../repository/chain.js';
import type { Manifest } from '../../repository/manifest.js';
import type { HeldForReading, Repository } from '../../repository/repository.js';
import { openHeldDisk } from '../open-held-disk.js';
import { useRepository } from '../open-repository.js';
import { openTarget } from '../open-target.js';
import type { ProgressListener } from '../progress.js';
import { openReadingPool } from '../reading-pool.js';
import { restoreDisk } from '../restore-disk.js';
import { type ExportFolder, openExportFolder } from './export-folder.js';
import { type ExportedFile, exportQcow2Chain } from './export-qcow2-chain.js';
import { exportTar } from './export-tar.js';

export type ExportFormat = 'qcow2-chain' | 'raw' | 'tar';

export interface ExportOptions {
  readonly repository: string | Repository;
  /** `MACHINE[@POINT]`. */
  readonly point: string;
  /** A missing or empty folder. */
  readonly to: string;
  /**
   * `qcow2-chain`: for each point of the chain a qcow2 that has the one before as its backing file; `raw`: the disks; `tar`: the
   * archives as they are, with a script that restores from them without nbdelta.
   */
  readonly format: ExportFormat;
  /** Only this disk; not with `tar`, which has all. */
  readonly disk?: string | undefined;
  readonly threads?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ProgressListener | undefined;
}

export interface ExportResult {
  readonly machine: string;
  readonly point: string;
  readonly format: ExportFormat;
  readonly folder: string;
  /** Images, with what they read as; empty for `tar`. */
  readonly images: readonly ExportedFile[];
  /** Other files. */
  readonly files: readonly string[];
  readonly elapsedMs: number;
}

/**
 * Writes a point as something that needs no nbdelta any more. The folder gets its name when everything is in it, verified and
 * durable; an export that was stopped leaves nothing.
 */
export async function exportPoint(options: ExportOptions): Promise<ExportResult> {
  const started = performance.now();
  const repository = await useRepository(options.repository);
  await using held = await repository.hold(options.point, 'export');
  await using folder = await openExportFolder(options.to);
  await using pool = openReadingPool(options.threads);
  const { images, files } =
    options.format === 'tar'
      ? await writeTar(repository, held, folder, options)
      : await writeImages(held, folder, pool, options);
  await folder.publish();
  return {
    ...{
      machine: held.machine.name,
      point: held.point.manifest.id,
      format: options.format,
      folder: options.to,
    },
    ...{ images, files, elapsedMs: performance.now() - started },
  };
}

type Written = Pick<ExportResult, 'images' | 'files'>;

async function writeTar(
  repository: Repository,
  { machine, points, point }: HeldForReading,
  folder: ExportFolder,
  { signal, onProgress }: ExportOptions,
): Promise<Written> {
  const name = `${machine.name}-${point.manifest.id}.tar`;
  const path = folder.file(name);
  const chain = ancestryOf(points, point).reverse();
  await exportTar({ repository, machine, points: chain, path, signal, onProgress });
  return { images: [], files: [name] };
}

async function writeImages(
  held: HeldForReading,
  folder: ExportFolder,
  pool: FramePool,
  options: ExportOptions,
): Promise<Written> {
  const { machine, points, point } = held;
  const images: ExportedFile[] = [];
  for (const disk of diskNames(point.manifest, options.disk)) {
    if (options.format === 'raw') images.push(await writeRaw(held, disk, folder, pool, options));
    else {
      const links = await machine.openChain(points, point.manifest.id, disk);
      images.push(...(await exportQcow2Chain({ ...options, machine, links, folder, pool })));
    }
  }
  const files: string[] = [];
  for (const { name } of point.manifest.files) {
    const bytes = await machine.readPointFile(point, name);
    if (bytes === undefined) continue;
    await writeFile(folder.file(name), bytes, { mode: 0o600 });
    files.push(name);
  }
  return { images, files };
}

/** All disks, or none is left out silently. */
function diskNames({ id, disks }: Manifest, wanted: string | undefined): readonly string[] {
  if (wanted !== undefined) return [wanted];
  const failed = disks.find(disk => disk.status === 'failed');
  if (failed === undefined) return disks.map(disk => disk.name);
  throw new RepositoryError('DISK_UNKNOWN', `disk ${failed.name} is not in point ${id}: it failed`, {
    hint: 'export what is stored, one at a time, with --disk; or use another point',
    fields: { point: id, disk: failed.name },
  });
}

async function writeRaw(
  held: HeldForReading,
  disk: string,
  folder: ExportFolder,
  pool: FramePool,
  { signal, onProgress }: ExportOptions,
): Promise<ExportedFile> {
  await using chain = await openHeldDisk(held, disk, { signal });
  const name = `${disk}.raw`;
  const target = await openTarget(folder.file(name), chain.size, { format: 'raw', force: false, signal });
  try {
    const report = (done: number) => onProgress?.({ phase: 'data', disk, done, total: chain.size });
    await restoreDisk({ chain, target, pool, signal, onProgress: report });
    await target.finish();
  } catch (error) {
    await target.abort();
    throw error;
  }
  return { disk, point: chain.point, name, size: chain.size };
}
