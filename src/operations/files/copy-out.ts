import { chmod, mkdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { UsageError } from '../../errors.js';
import {
  createPartial,
  discard,
  type NewFile,
  planNewFile,
  publish,
  syncFolder,
  targetFailed,
} from '../targets/new-file.js';
import { writeFully } from '../targets/write-fully.js';
import { type CopiedFiles, TarExtraction } from './extract-tar.js';
import { type FileStatus, readStatus } from './guest-entries.js';
import type { GuestfishSession } from './guestfish-session.js';
import { quoteWord } from './guestfish-words.js';

export interface CopiedOut extends CopiedFiles {
  /** Where it is now. */
  readonly target: string;
}

/**
 * Copies a file, or a folder with everything in it, out of a guest. The copy has its name only when it is complete.
 * @param to a folder to put it into, under its own name; or the name that it gets.
 * @throws TargetError TARGET_EXISTS: nothing is ever replaced. RepositoryError FILE_UNKNOWN; UsageError.
 */
export async function copyOut(session: GuestfishSession, path: string, to: string): Promise<CopiedOut> {
  const status = await readStatus(session, path);
  const target = await planNewFile(await chooseName(path, to), false);
  if (status.kind === 'file') return await copyFile(session, path, status, target);
  if (status.kind === 'folder') return await copyFolder(session, path, target);
  throw new UsageError(`${path} is neither a file nor a folder: ${status.kind}`);
}

async function chooseName(path: string, to: string): Promise<string> {
  const place = resolve(to);
  const isFolder = await stat(place).then(
    found => found.isDirectory(),
    (cause: NodeJS.ErrnoException) => {
      if (cause.code === 'ENOENT') return false;
      throw targetFailed('look at', place, cause);
    },
  );
  if (!isFolder) return place;
  const name = basename(path);
  if (name !== '' && name !== '.' && name !== '..') return join(place, name);
  throw new UsageError(`${path} has no name of its own: say how the copy is to be called`, {
    hint: `for example ${join(to, 'root')}`,
  });
}

async function copyFile(
  session: GuestfishSession,
  path: string,
  status: FileStatus,
  target: NewFile,
): Promise<CopiedOut> {
  const file = await createPartial(target);
  let bytes = 0;
  try {
    await session.stream(['download', quoteWord(path), '/dev/stdout'], async piece => {
      await writeFully(file, target.partialPath, bytes, piece);
      bytes += piece.length;
    });
    await file.sync();
    await chmod(target.partialPath, status.mode & 0o777);
    const time = new Date(status.modified);
    await utimes(target.partialPath, time, time);
    await publish(target);
  } catch (error) {
    await discard(target);
    throw error;
  } finally {
    await file.close();
  }
  return { target: target.path, files: 1, folders: 0, links: 0, skipped: 0, bytes };
}

async function copyFolder(session: GuestfishSession, path: string, target: NewFile): Promise<CopiedOut> {
  const folder = target.partialPath;
  await mkdir(folder, { mode: 0o700 }).catch(cause => {
    throw targetFailed('make folder', folder, cause);
  });
  const extraction = new TarExtraction(folder);
  try {
    await session.stream(['tar-out', quoteWord(path), '/dev/stdout'], piece => extraction.write(piece));
    const copied = await extraction.end();
    await nameFolder(folder, target.path);
    return { target: target.path, ...copied };
  } catch (error) {
    await extraction.abandon();
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

/** A folder cannot be linked to its name, and `rename` replaces an empty one: it is asked for once more before. */
async function nameFolder(folder: string, path: string): Promise<void> {
  await planNewFile(path, false);
  try {
    await rename(folder, path);
    await syncFolder(dirname(path));
  } catch (cause) {
    throw targetFailed('give its name to', path, cause);
  }
}
