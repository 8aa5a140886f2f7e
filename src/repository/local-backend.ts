import { lstat, mkdir, open, readdir, rm, rmdir, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { LocalVolumeReader, LocalVolumeSink, openRegularFile, syncFolder } from './local-volume.js';
import type { StorageBackend, StorageEntry, VolumeReader, VolumeSink } from './storage-backend.js';
import { errnoOf, withStorageFailure } from './storage-failure.js';
import { splitStoragePath } from './storage-path.js';
import {
  CREATE_NEW,
  createWhole,
  hasContent,
  nullWhenMissing,
  readCapped,
  replaceWhole,
  takeAway,
} from './whole-file.js';

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
      const created = await createWhole(file, bytes);
      await syncFolder(dirname(file));
      return created;
    });
  }

  async replace(path: string, bytes: Uint8Array): Promise<void> {
    const file = this.#locate(path);
    await withStorageFailure('replace', file, async () => {
      await replaceWhole(file, bytes);
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
