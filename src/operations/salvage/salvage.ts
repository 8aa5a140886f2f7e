import { type FileHandle, writeFile } from 'node:fs/promises';
import { UsageError } from '../../errors.js';
import type { Range } from '../../extents/extent-list.js';
import { LocalVolumeReader, openRegularFile } from '../../repository/local-volume.js';
import type { VolumeReader } from '../../repository/storage-backend.js';
import { withStorageFailure } from '../../repository/storage-failure.js';
import type { ProgressListener } from '../progress.js';
import { openReadingPool } from '../reading-pool.js';
import { createPartial, discard, planNewFile, publish, targetFailed } from '../targets/new-file.js';
import { readSalvageTables, type SalvageTables } from './read-tables.js';
import { uncovered } from './uncovered.js';
import { type LostRange, writeSalvaged } from './write-salvaged.js';

export interface SalvageOptions {
  /** Paths of the volumes of one archive, in order. */
  readonly volumes: readonly string[];
  /** Raw file to be made; a map is written beside it, `TO.map.json`. */
  readonly to: string;
  readonly force?: boolean | undefined;
  readonly threads?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ProgressListener | undefined;
}

/** What was got out of an archive, and what was not. Bytes. */
export interface SalvageResult {
  readonly archiveId: string;
  /** From the archive's header, when that could be read. */
  readonly disk: string | null;
  readonly size: number;
  /** Whether the archive is a full; `null`: its header could not be read. */
  readonly full: boolean | null;
  /** `index`: all that there was is known; `packs`: only what was found. */
  readonly from: 'index' | 'packs';
  readonly frames: { readonly known: number; readonly good: number };
  readonly salvaged: number;
  readonly zero: number;
  /** Ranges that were stored and could not be read. */
  readonly lost: readonly LostRange[];
  readonly lostBytes: number;
  /** Ranges of which nothing is known: in a full they are lost, in an incremental they are lost or did not change. */
  readonly unknown: readonly Range[];
  readonly unknownBytes: number;
  /** Numbers of packs that must have been there. */
  readonly missingPacks: readonly number[];
  /** Whether everything that was stored was got. */
  readonly complete: boolean;
  readonly map: string;
}

/**
 * Gets out of a torn or damaged archive what can be read: every frame is checked against both its digests before a byte of
 * it is written. What could not be read is a hole in the file, and listed in the map beside it: a hole says nothing.
 * @throws DamagedError when nothing of an archive is found; TargetError; StorageError.
 */
export async function salvage(options: SalvageOptions): Promise<SalvageResult> {
  if (options.volumes.length === 0) throw new UsageError('salvage what? name the volumes of an archive');
  await using files = await openFiles(options.volumes);
  const tables = await readSalvageTables(files.readers);
  const mapPath = `${options.to}.map.json`;
  const file = await planNewFile(options.to, options.force === true);
  const handle = await createPartial(file);
  try {
    const result = await fill(tables, files.readers, handle, mapPath, options);
    await handle.sync();
    await handle.close();
    // The map first: a file without it looks like a whole disk.
    await writeFile(mapPath, `${JSON.stringify(result, null, 2)}\n`);
    await publish(file);
    return result;
  } catch (error) {
    await handle.close();
    await discard(file);
    throw error;
  }
}

async function fill(
  tables: SalvageTables,
  files: readonly VolumeReader[],
  handle: FileHandle,
  map: string,
  { to, threads, signal, onProgress }: SalvageOptions,
): Promise<SalvageResult> {
  await using pool = openReadingPool(threads);
  await handle.truncate(tables.size).catch(cause => {
    throw targetFailed('resize', to, cause);
  });
  const { good, salvaged, zero, lost } = await writeSalvaged({
    tables,
    files,
    handle,
    path: to,
    pool,
    signal,
    onProgress,
  });
  const unknown = tables.from === 'index' ? [] : [...uncovered(tables.extents, tables.size)];
  const sum = (ranges: readonly Range[]) => ranges.reduce((total, { length }) => total + length, 0);
  const { archiveId, header, size, from, frames, missingPacks } = tables;
  const full = header === null ? null : header.parentArchiveId === null;
  return {
    ...{ archiveId, disk: header?.disk ?? null, size, full, from },
    ...{ frames: { known: frames.count, good }, salvaged, zero, lost, lostBytes: sum(lost) },
    ...{ unknown, unknownBytes: sum(unknown), missingPacks, map },
    complete: from === 'index' && lost.length === 0,
  };
}

interface OpenFiles extends AsyncDisposable {
  readonly readers: readonly VolumeReader[];
}

async function openFiles(paths: readonly string[]): Promise<OpenFiles> {
  const readers: VolumeReader[] = [];
  const close = async () => {
    for (const reader of readers) await reader.close();
  };
  try {
    for (const path of paths) {
      const { handle, size } = await withStorageFailure('open', path, () => openRegularFile(path));
      readers.push(new LocalVolumeReader(path, handle, size));
    }
  } catch (error) {
    await close();
    throw error;
  }
  return { readers, [Symbol.asyncDispose]: close };
}
