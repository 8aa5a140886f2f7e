import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { link, lstat, mkdir, open, readdir, rename, rm, rmdir, stat, unlink } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { StorageError } from '../errors.js';
import {
  appendFully,
  LocalVolumeReader,
  LocalVolumeSink,
  openRegularFile,
  readFully,
  syncFolder,
} from './local-volume.js';
import type { StorageBackend, StorageEntry, VolumeReader, VolumeSink } from './storage-backend.js';
import { errnoOf, withStorageFailure } from './storage-failure.js';
import { splitStoragePath } from './storage-path.js';

const TEMPORARY_PREFIX = '.nbdelta-tmp-';
const CREATE_NEW = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL;

/** A repository in a folder of a local or network file system that has hard links. */
export class LocalBackend implements StorageBackend {
  readonly #root: string;

  /** @param root the repository's folder; it need not exist yet. */
  constructor(root: string) {
    this.#root = resolve(root);
  }

  describe(): string {
    return this.#root;
  }

  async read(path: string, { maxBytes }: { readonly maxBytes: number }): Promise<Uint8Array | null> {
    const file = this.#locate(path);
    return await withStorageFailure('read', file, () => nullWhenMissing(readCapped(file, maxBytes)));
  }

  async createVolume(path: string): Promise<VolumeSink> {
    const file = this.#locate(path);
    return await withStorageFailure('create', file, async () => {
      const handle = await open(file, CREATE_NEW, 0o666);
      return new LocalVolumeSink(file, dirname(file), handle);
    });
  }

  async openVolume(path: string): Promise<VolumeReader> {
    const file = this.#locate(path);
    return await withStorageFailure('open', file, async () => {
      const { handle, size } = await openRegularFile(file);
      return new LocalVolumeReader(file, handle, size);
    });
  }

  async putExclusive(path: string, bytes: Uint8Array): Promise<boolean> {
    const file = this.#locate(path);
    return await withStorageFailure('create', file, async () => {
      const temporary = temporaryBeside(file);
      const created = await withCleanup(temporary, async () => {
        await writeNewFile(temporary, bytes);
        return await linkExclusive(temporary, file);
      });
      await syncFolder(dirname(file));
      return created;
    });
  }

  async replace(path: string, bytes: Uint8Array): Promise<void> {
    const file = this.#locate(path);
    await withStorageFailure('replace', file, async () => {
      const temporary = temporaryBeside(file);
      await withCleanup(temporary, async () => {
        await writeNewFile(temporary, bytes);
        await rename(temporary, file);
      });
      await syncFolder(dirname(file));
    });
  }

  async removeIfUnchanged(path: string, expected: Uint8Array): Promise<boolean> {
    const file = this.#locate(path);
    return await withStorageFailure('remove', file, async () => {
      if ((await nullWhenMissing(hasContent(file, expected))) !== true) return false;
      return await takeAway(file, expected);
    });
  }

  async list(path: string): Promise<StorageEntry[]> {
    const folder = this.#locate(path);
    return await withStorageFailure('list', folder, async () => {
      const names = (await nullWhenMissing(readdir(folder))) ?? [];
      const entries = await Promise.all(names.sort().map(name => describeEntry(folder, name)));
      return entries.filter(entry => entry !== null);
    });
  }

  async remove(path: string): Promise<void> {
    const file = this.#locate(path);
    await withStorageFailure('remove', file, async () => {
      await rm(file, { force: true });
      // Removals keep their order across a crash: a manifest goes before the volumes it names.
      await nullWhenMissing(syncFolder(dirname(file)));
    });
  }

  async removeFolder(path: string): Promise<void> {
    const folder = this.#locate(path);
    await withStorageFailure('remove folder', folder, async () => {
      await nullWhenMissing(rmdir(folder));
      await nullWhenMissing(syncFolder(dirname(folder)));
    });
  }

  async makeFolder(path: string): Promise<boolean> {
    const folder = this.#locate(path);
    return await withStorageFailure('create folder', folder, async () => {
      if (!(await mkdirNew(folder))) return false;
      await syncFolder(dirname(folder));
      return true;
    });
  }

  #locate(path: string): string {
    return join(this.#root, ...splitStoragePath(path));
  }
}

function temporaryBeside(file: string): string {
  return join(dirname(file), `${TEMPORARY_PREFIX}${randomBytes(12).toString('hex')}`);
}

async function nullWhenMissing<T>(work: Promise<T>): Promise<T | null> {
  try {
    return await work;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null;
    throw error;
  }
}

/** Runs `work`, then removes the temporary file, whatever happened; the first error is the one that counts. */
async function withCleanup<T>(temporary: string, work: () => Promise<T>): Promise<T> {
  let result: T;
  try {
    result = await work();
  } catch (error) {
    const [cleanup] = await Promise.allSettled([rm(temporary, { force: true })]);
    if (cleanup.status === 'rejected' && error instanceof Error) error.cause ??= cleanup.reason;
    throw error;
  }
  await rm(temporary, { force: true });
  return result;
}

async function writeNewFile(file: string, bytes: Uint8Array): Promise<void> {
  const handle = await open(file, CREATE_NEW, 0o666);
  try {
    await appendFully(handle, file, [bytes]);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function linkExclusive(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error;
    return await isSameFile(from, to);
  }
}

/** NFS may do the link, lose its answer, and meet EEXIST on its own retry: then the link is ours. */
async function isSameFile(one: string, other: string): Promise<boolean> {
  const [a, b] = await Promise.all([
    lstat(one, { bigint: true }),
    nullWhenMissing(lstat(other, { bigint: true })),
  ]);
  return b !== null && a.ino === b.ino && a.dev === b.dev;
}

async function readCapped(file: string, maxBytes: number): Promise<Uint8Array> {
  const { handle, size } = await openRegularFile(file);
  try {
    if (size > maxBytes) {
      throw new StorageError(`cannot read ${file}: it has ${size} bytes, expected at most ${maxBytes}`);
    }
    const bytes = new Uint8Array(size);
    await readFully(handle, file, 0, bytes);
    return bytes;
  } finally {
    await handle.close();
  }
}

async function hasContent(file: string, expected: Uint8Array): Promise<boolean> {
  const { handle, size } = await openRegularFile(file);
  try {
    if (size !== expected.length) return false;
    const seen = new Uint8Array(size);
    await readFully(handle, file, 0, seen);
    return Buffer.compare(seen, expected) === 0;
  } finally {
    await handle.close();
  }
}

/**
 * Renames the file away first: of several callers only one can. If somebody replaced the file since it was
 * judged, the fresh one is put back; if yet another came into its place, the displaced owner finds out when
 * it checks, before it commits.
 */
async function takeAway(file: string, expected: Uint8Array): Promise<boolean> {
  const aside = temporaryBeside(file);
  if ((await nullWhenMissing(rename(file, aside).then(() => true))) === null) return false;
  const isExpected = await hasContent(aside, expected);
  if (!isExpected) await linkExclusive(aside, file);
  await unlink(aside);
  await syncFolder(dirname(file));
  return isExpected;
}

async function describeEntry(folder: string, name: string): Promise<StorageEntry | null> {
  const path = join(folder, name);
  const status = (await nullWhenMissing(stat(path))) ?? (await nullWhenMissing(lstat(path)));
  if (status === null) return null;
  return status.isDirectory() ? { name, kind: 'folder' } : { name, kind: 'file', bytes: status.size };
}

async function mkdirNew(folder: string): Promise<boolean> {
  try {
    await mkdir(folder);
    return true;
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST' || !(await stat(folder)).isDirectory()) throw error;
    return false;
  }
}
