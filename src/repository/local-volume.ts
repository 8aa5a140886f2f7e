import { constants } from 'node:fs';
import { type FileHandle, open, rm } from 'node:fs/promises';
import { StorageError } from '../errors.js';
import type { VolumeReader, VolumeSink } from './storage-backend.js';
import { withStorageFailure } from './storage-failure.js';

/** Makes the names in a folder durable: without this a crash can lose a file that was fsynced itself. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Opens a regular file for reading. Not through a link, which could lead out of the repository, and never
 * blocking on a FIFO that somebody put in its place.
 */
export async function openRegularFile(path: string): Promise<{ handle: FileHandle; size: number }> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const status = await handle.stat();
    if (!status.isFile()) throw new StorageError(`cannot read ${path}: not a regular file`);
    return { handle, size: status.size };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** Fills `into` from `position`. @throws StorageError when the file ends before. */
export async function readFully(
  handle: FileHandle,
  path: string,
  position: number,
  into: Uint8Array,
): Promise<void> {
  let done = 0;
  while (done < into.length) {
    const { bytesRead } = await handle.read(into, done, into.length - done, position + done);
    if (bytesRead === 0) {
      throw new StorageError(
        `cannot read ${path}: it ends at byte ${position + done}, expected at least ${position + into.length}`,
        { hint: 'The file was cut short: run a verification of this machine.', fields: { path } },
      );
    }
    done += bytesRead;
  }
}

/** Writes all bytes of all chunks at the end: the kernel may take fewer than it was given. */
export async function appendFully(
  handle: FileHandle,
  path: string,
  chunks: readonly Uint8Array[],
): Promise<void> {
  let rest = chunks.filter(chunk => chunk.length > 0);
  while (rest.length > 0) {
    const { bytesWritten } = await handle.writev(rest);
    if (bytesWritten <= 0) throw new StorageError(`cannot write ${path}: the file system took no byte`);
    rest = dropFront(rest, bytesWritten);
  }
}

/** `chunks` without their first `bytes` bytes; views, no copies. */
export function dropFront(chunks: readonly Uint8Array[], bytes: number): Uint8Array[] {
  let left = bytes;
  let index = 0;
  for (; index < chunks.length && left >= chunks[index]!.length; index++) left -= chunks[index]!.length;
  const rest = chunks.slice(index);
  if (left > 0 && rest[0] !== undefined) rest[0] = rest[0].subarray(left);
  return rest;
}

/** A volume being written to a local file. Appends queue up behind one another. */
export class LocalVolumeSink implements VolumeSink {
  readonly #path: string;
  readonly #folder: string;
  #handle: FileHandle | null;
  #tail: Promise<void> = Promise.resolve();
  #ended = false;
  #removed = false;

  constructor(path: string, folder: string, handle: FileHandle) {
    this.#path = path;
    this.#folder = folder;
    this.#handle = handle;
  }

  append(chunks: readonly Uint8Array[]): Promise<void> {
    if (this.#ended) return Promise.reject(new StorageError(`cannot write ${this.#path}: closed already`));
    // A failed append leaves half a chunk behind: everything after it fails with the same error.
    this.#tail = this.#tail.then(() =>
      withStorageFailure('write', this.#path, () => appendFully(this.#handle!, this.#path, chunks)),
    );
    return this.#tail;
  }

  async close(): Promise<void> {
    if (this.#ended) return this.#tail;
    this.#ended = true;
    this.#tail = this.#tail
      .then(() => withStorageFailure('fsync', this.#path, () => this.#handle!.sync()))
      .finally(() => this.#closeHandle())
      .then(() => withStorageFailure('fsync the folder of', this.#path, () => syncFolder(this.#folder)));
    return this.#tail;
  }

  async abort(): Promise<void> {
    if (this.#removed) return;
    this.#ended = true;
    await Promise.allSettled([this.#tail]);
    this.#removed = true;
    await this.#closeHandle();
    await withStorageFailure('remove', this.#path, () => rm(this.#path, { force: true }));
  }

  async #closeHandle(): Promise<void> {
    const handle = this.#handle;
    this.#handle = null;
    if (handle !== null) await withStorageFailure('close', this.#path, () => handle.close());
  }
}

/** A local file open for reads at any offset. */
export class LocalVolumeReader implements VolumeReader {
  readonly size: number;
  readonly #path: string;
  #handle: FileHandle | null;

  constructor(path: string, handle: FileHandle, size: number) {
    this.#path = path;
    this.#handle = handle;
    this.size = size;
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    const handle = this.#handle;
    if (handle === null) throw new StorageError(`cannot read ${this.#path}: closed already`);
    await withStorageFailure('read', this.#path, () => readFully(handle, this.#path, offset, into));
  }

  async close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = null;
    if (handle !== null) await withStorageFailure('close', this.#path, () => handle.close());
  }
}
