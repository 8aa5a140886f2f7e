import { randomBytes } from 'node:crypto';
import { chmod, chown, type FileHandle, link, lstat, open, realpath, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errorLine, TargetError } from '../../errors.js';
import { makeFolders } from '../../process/make-folders.js';

/**
 * A file under construction. It carries its final name only when it is complete: a restore that was killed
 * leaves `NAME.nbdelta-partial-XXXXXXXX`, never something that looks like a disk. The name is random: of two
 * restores to one place neither can publish what the other is still writing.
 */
export interface NewFile {
  /** Final path, symbolic links resolved. */
  readonly path: string;
  /** Where it is written until then. */
  readonly partialPath: string;
  /** Owner and mode of the file that it replaces. */
  readonly replaces: { readonly uid: number; readonly gid: number; readonly mode: number } | undefined;
}

const SUFFIX = '.nbdelta-partial-';

/**
 * Prepares a new file at `path`.
 * @throws TargetError (TARGET_EXISTS) when something is there and `force` was not said.
 */
export async function planNewFile(path: string, force: boolean): Promise<NewFile> {
  const existing = await lstat(path).catch(nullWhenMissing(path));
  if (!existing) return { path, partialPath: partialName(path), replaces: undefined };
  if (!force) {
    const hint = '--force replaces it';
    throw new TargetError('TARGET_EXISTS', `${path} exists already`, { hint, fields: { target: path } });
  }
  const resolved = existing.isSymbolicLink() ? await follow(path) : path;
  const { uid, gid, mode } = await lstat(resolved);
  return { path: resolved, partialPath: partialName(resolved), replaces: { uid, gid, mode } };
}

function partialName(path: string): string {
  return `${path}${SUFFIX}${randomBytes(4).toString('hex')}`;
}

/** Where a link leads. One that leads nowhere is not a place to put a disk: its maker meant another one. */
async function follow(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (cause) {
    throw targetFailed('follow link', path, cause);
  }
}

function nullWhenMissing(path: string) {
  return (cause: NodeJS.ErrnoException): null => {
    if (cause.code === 'ENOENT') return null;
    throw targetFailed('look at', path, cause);
  };
}

/** Creates the partial file for reading and writing. */
export async function createPartial(file: NewFile): Promise<FileHandle> {
  try {
    return await open(file.partialPath, 'wx+', 0o600);
  } catch (cause) {
    throw targetFailed('create', file.partialPath, cause);
  }
}

/** Gives a complete file its name. Without `replaces` nobody else's file of that name is overwritten. */
export async function publish(file: NewFile): Promise<void> {
  try {
    if (file.replaces) {
      await chown(file.partialPath, file.replaces.uid, file.replaces.gid);
      await chmod(file.partialPath, file.replaces.mode & 0o7777);
      await rename(file.partialPath, file.path);
    } else {
      await nameExclusively(file);
    }
    await syncFolder(dirname(file.path));
  } catch (cause) {
    throw targetFailed('give its name to', file.path, cause);
  }
}

/** File systems without hard links cannot refuse an existing name in one step; there it is looked at first. */
const NO_HARD_LINKS = ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'];

async function nameExclusively(file: NewFile): Promise<void> {
  try {
    await link(file.partialPath, file.path);
  } catch (cause) {
    if (!NO_HARD_LINKS.includes((cause as NodeJS.ErrnoException).code ?? '')) throw cause;
    const taken = await lstat(file.path).catch(nullWhenMissing(file.path));
    if (taken) throw Object.assign(new Error('EEXIST: file already exists'), { code: 'EEXIST' });
    await rename(file.partialPath, file.path);
    return;
  }
  await rm(file.partialPath);
}

/** Removes the partial file. */
export async function discard(file: NewFile): Promise<void> {
  await rm(file.partialPath, { force: true });
}

/** Makes the names in a folder last. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** Makes the folder for restored disks. */
export async function makeTargetFolder(path: string): Promise<void> {
  try {
    await makeFolders(path, 0o777);
  } catch (cause) {
    throw targetFailed('make folder', path, cause);
  }
}

const HINTS: Readonly<Record<string, string>> = {
  ENOSPC: 'the file system is full: free space, or restore somewhere else',
  EDQUOT: 'the quota is used up',
  EACCES: 'no permission: run as the owner of the folder or as root',
  EPERM: 'no permission: run as the owner of the folder or as root',
  ENOENT: 'the folder, or what the link leads to, does not exist: make it first',
  EROFS: 'the file system is read-only',
  EBUSY: 'it is in use: unmount it and stop whoever has it open',
  EFBIG: 'the file system cannot hold a file of this size',
  EEXIST: 'somebody created it in the meantime',
};

/** The error for a file or device that cannot be written. */
export function targetFailed(action: string, path: string, cause: unknown): TargetError {
  const code = (cause as NodeJS.ErrnoException).code ?? '';
  return new TargetError('TARGET_INVALID', `cannot ${action} ${path}: ${errorLine(cause)}`, {
    cause,
    hint: HINTS[code] ?? 'check the target',
    fields: { target: path, errno: code },
  });
}
