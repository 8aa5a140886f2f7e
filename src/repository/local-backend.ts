import type { Dirent } from 'node:fs';
import { lstat, mkdir, open, readdir, rm, rmdir, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { StorageError } from '../errors.js';
import { LocalVolumeReader, LocalVolumeSink, openRegularFile, syncFolder } from './local-volume.js';
import { resumeLocalVolume } from './resumed-volume.js';
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
  /** Folders that are being looked at. */
  readonly #looks = new Map<string, Promise<void>>();

  /** @param root the repository's folder; it need not exist yet. */
  constructor(root: string) {
    this.#root = resolve(root);
  }

  describe(): string {
    return this.#root;
  }

  async read(path: string, { maxBytes }: { readonly maxBytes: number }): Promise<Uint8Array | null> {
    return await this.#at('read', path, file => nullWhenMissing(readCapped(file, maxBytes)));
  }

  async createVolume(path: string): Promise<VolumeSink> {
    return await this.#at('create', path, async file => {
      const handle = await open(file, CREATE_NEW, 0o666);
      return new LocalVolumeSink(file, dirname(file), handle);
    });
  }

  async resumeVolume(path: string): Promise<VolumeSink> {
    const resumed = await this.#at('resume', path, file => nullWhenMissing(resumeLocalVolume(file)));
    return resumed ?? (await this.createVolume(path));
  }

  async openVolume(path: string): Promise<VolumeReader> {
    return await this.#at('open', path, async file => {
      const { handle, size } = await openRegularFile(file);
      return new LocalVolumeReader(file, handle, size);
    });
  }

  async putExclusive(path: string, bytes: Uint8Array): Promise<boolean> {
    return await this.#at('create', path, async file => {
      const created = await createWhole(file, bytes);
      await syncFolder(dirname(file));
      return created;
    });
  }

  async replace(path: string, bytes: Uint8Array): Promise<void> {
    await this.#at('replace', path, async file => {
      await replaceWhole(file, bytes);
      await syncFolder(dirname(file));
    });
  }

  async removeIfUnchanged(path: string, expected: Uint8Array): Promise<boolean> {
    return await this.#at('remove', path, async file => {
      if ((await nullWhenMissing(hasContent(file, expected))) !== true) return false;
      return await takeAway(file, expected);
    });
  }

  async list(path: string, { sizes = false } = {}): Promise<StorageEntry[]> {
    return await this.#at('list', path, async folder => {
      if (path !== '') await this.#refuseLink(folder);
      const entries = (await nullWhenMissing(readEntries(folder))) ?? [];
      entries.sort((a, b) => (a.name < b.name ? -1 : 1));
      return sizes ? await withSizes(folder, entries) : entries;
    });
  }

  async remove(path: string): Promise<void> {
    await this.#at('remove', path, async file => {
      await rm(file, { force: true });
      // Removals keep their order across a crash: a manifest goes before the volumes it names.
      await nullWhenMissing(syncFolder(dirname(file)));
    });
  }

  async removeFolder(path: string): Promise<void> {
    await this.#at('remove folder', path, async folder => {
      await nullWhenMissing(rmdir(folder));
      await nullWhenMissing(syncFolder(dirname(folder)));
    });
  }

  async makeFolder(path: string): Promise<boolean> {
    return await this.#at('create folder', path, async folder => {
      if (!(await mkdirNew(folder, path === ''))) return false;
      await syncFolder(dirname(folder));
      return true;
    });
  }

  /**
   * Does `work` at a path whose folders are real ones: through a link, removing a point could remove files
   * outside of the repository. The repository's own folder may be a link: that was said on purpose.
   */
  async #at<T>(action: string, path: string, work: (file: string) => Promise<T>): Promise<T> {
    const parts = splitStoragePath(path);
    const file = join(this.#root, ...parts);
    return await withStorageFailure(action, file, async () => {
      for (let depth = 1; depth < parts.length; depth++) {
        await this.#refuseLink(join(this.#root, ...parts.slice(0, depth)));
      }
      return await work(file);
    });
  }

  /** Whoever asks while somebody else is looking at the same folder gets that answer. */
  #refuseLink(folder: string): Promise<void> {
    const known = this.#looks.get(folder);
    if (known !== undefined) return known;
    const look = refuseLink(folder).finally(() => this.#looks.delete(folder));
    this.#looks.set(folder, look);
    return look;
  }
}

async function refuseLink(folder: string): Promise<void> {
  if ((await nullWhenMissing(lstat(folder)))?.isSymbolicLink() !== true) return;
  throw new StorageError(`${folder} is a symbolic link, expected a folder`, {
    hint: 'Links are not followed inside a repository: put the folder itself in its place, or mount it there.',
    fields: { path: folder },
  });
}

/**
 * A folder's entries. Where the file system does not say what they are, Node looks at each, and fails as if the folder
 * were missing when one was removed meanwhile: then we look, and leave that one out.
 */
async function readEntries(folder: string): Promise<StorageEntry[]> {
  try {
    const found = await readdir(folder, { withFileTypes: true });
    return found.map(entry => describeEntry(entry.name, entry));
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT' || (error as NodeJS.ErrnoException).syscall !== 'lstat') throw error;
  }
  const looks = (await readdir(folder)).map(async name => {
    const status = await nullWhenMissing(lstat(join(folder, name)));
    return status && describeEntry(name, status);
  });
  return (await Promise.all(looks)).filter(entry => entry !== null);
}

function describeEntry(name: string, what: Pick<Dirent, 'isSymbolicLink' | 'isDirectory'>): StorageEntry {
  if (what.isSymbolicLink()) return { name, kind: 'link' };
  return { name, kind: what.isDirectory() ? 'folder' : 'file' };
}

/** Without the files that were removed meanwhile. */
async function withSizes(folder: string, entries: readonly StorageEntry[]): Promise<StorageEntry[]> {
  const sized = entries.map(async entry => {
    if (entry.kind !== 'file') return entry;
    const status = await nullWhenMissing(lstat(join(folder, entry.name)));
    return status === null ? null : { ...entry, bytes: status.size };
  });
  return (await Promise.all(sized)).filter(entry => entry !== null);
}

async function mkdirNew(folder: string, mayBeLink: boolean): Promise<boolean> {
  try {
    await mkdir(folder);
    return true;
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error;
    if (!mayBeLink) await refuseLink(folder);
    if (!(await stat(folder)).isDirectory()) throw error;
    return false;
  }
}
