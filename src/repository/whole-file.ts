import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { link, lstat, open, rename, rm, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { StorageError } from '../errors.js';
import { appendFully, openRegularFile, readFully, syncFolder } from './local-volume.js';
import { errnoOf } from './storage-failure.js';

/** How names of temporary files begin; a killed process may leave one behind. */
const TEMPORARY_PREFIX = '.nbdelta-tmp-';
export const CREATE_NEW = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL;

/** Creates a file with its whole content, durable but for its name; `false` when there is one already. */
export async function createWhole(file: string, bytes: Uint8Array): Promise<boolean> {
  const temporary = temporaryBeside(file);
  return await withCleanup(temporary, async () => {
    await writeNewFile(temporary, bytes);
    return await linkExclusive(temporary, file);
  });
}

/** Creates or replaces a file with its whole content, durable but for its name. */
export async function replaceWhole(file: string, bytes: Uint8Array): Promise<void> {
  const temporary = temporaryBeside(file);
  await withCleanup(temporary, async () => {
    await writeNewFile(temporary, bytes);
    await rename(temporary, file);
  });
}

function temporaryBeside(file: string): string {
  return join(dirname(file), `${TEMPORARY_PREFIX}${randomBytes(12).toString('hex')}`);
}

export async function nullWhenMissing<T>(work: Promise<T>): Promise<T | null> {
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

export async function readCapped(file: string, maxBytes: number): Promise<Uint8Array> {
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

export async function hasContent(file: string, expected: Uint8Array): Promise<boolean> {
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
export async function takeAway(file: string, expected: Uint8Array): Promise<boolean> {
  const aside = temporaryBeside(file);
  if ((await nullWhenMissing(rename(file, aside).then(() => true))) === null) return false;
  const isExpected = await hasContent(aside, expected);
  if (!isExpected) await linkExclusive(aside, file);
  await unlink(aside);
  await syncFolder(dirname(file));
  return isExpected;
}
