import { constants } from 'node:fs';
import { chmod, lchown, lstat, mkdir, open, readdir, rmdir, stat, statfs, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { HypervisorError } from '../../errors.js';
import { makeFolders } from '../../process/make-folders.js';
import type { Host, HostUser } from './host.js';
import { hostFailure, isMissing } from './host-failure.js';
import { type ProgramResult, type RunOptions, runProgram } from './run-program.js';

/** The machine that this process runs on. */
export class LocalHost implements Host {
  readonly name = 'local';
  readonly isLocal = true;

  async run(program: string, args: readonly string[], options?: RunOptions): Promise<ProgramResult> {
    return await runProgram(program, args, options);
  }

  async makePrivateFolder(base: string, name: string, owner: HostUser | undefined): Promise<string> {
    const path = join(base, name);
    try {
      // Searchable for all: QEMU's user must pass through it, and learns no more than that it is there.
      await makeFolders(base, 0o711);
      checkBase(base, await stat(base));
      await mkdir(path, { mode: 0o700 });
    } catch (error) {
      throw hostFailure(`cannot make the private folder ${path}`, error);
    }
    try {
      await giveTo(path, owner);
    } catch (error) {
      await rmdir(path);
      throw error;
    }
    return path;
  }

  async removeFolder(path: string): Promise<void> {
    try {
      await emptyFolder(path);
      await rmdir(path);
    } catch (error) {
      if (!isMissing(error)) throw hostFailure(`cannot remove the folder ${path}`, error);
      if (await this.exists(path)) throw noFolder(path);
    }
  }

  async removeFile(path: string): Promise<boolean> {
    try {
      await unlink(path);
      return true;
    } catch (error) {
      if (isMissing(error)) return false;
      throw hostFailure(`cannot remove ${path}`, error);
    }
  }

  async listFolder(path: string): Promise<readonly string[]> {
    try {
      return await readdir(path);
    } catch (error) {
      if (isMissing(error)) return [];
      throw hostFailure(`cannot list the folder ${path}`, error);
    }
  }

  async readFile(path: string, maxBytes: number): Promise<Uint8Array | undefined> {
    try {
      return await readRegularFile(path, maxBytes);
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw hostFailure(`cannot read ${path}`, error);
    }
  }

  async exists(path: string): Promise<boolean> {
    try {
      await lstat(path);
      return true;
    } catch (error) {
      if (isMissing(error)) return false;
      throw hostFailure(`cannot look at ${path}`, error);
    }
  }

  async freeBytes(path: string): Promise<number> {
    try {
      const { bavail, bsize } = await statfs(path);
      return bavail * bsize;
    } catch (error) {
      throw hostFailure(`cannot tell the free space at ${path}`, error);
    }
  }

  async forward(path: string): Promise<string> {
    return path;
  }

  async unforward(): Promise<void> {}

  async [Symbol.asyncDispose](): Promise<void> {}
}

/**
 * Through the folder itself, once it is open: anybody may put a link of its name into a folder for temporary files, and
 * what that leads to would be emptied. Not recursive: what is deeper is not ours.
 */
async function emptyFolder(path: string): Promise<void> {
  const folder = await open(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  try {
    const inside = `/proc/self/fd/${folder.fd}`;
    for (const name of await readdir(inside)) await unlink(join(inside, name)).catch(passMissing);
  } finally {
    await folder.close();
  }
}

function noFolder(path: string): HypervisorError {
  return new HypervisorError('HYPERVISOR_DENIED', `${path} is called like a folder of nbdelta and is none`, {
    hint: 'somebody else put it there: see what it is, and remove it',
  });
}

function passMissing(error: unknown): void {
  if (!isMissing(error)) throw error;
}

/** A base that others may write to could be swapped under us, and a socket of theirs be read as the guest's. */
function checkBase(base: string, { uid, mode }: { readonly uid: number; readonly mode: number }): void {
  const isOurs = uid === 0 || uid === process.geteuid?.();
  // In a sticky folder (/tmp) nobody can rename what is not his.
  const isClosed = (mode & 0o022) === 0 || (mode & 0o1000) !== 0;
  if (isOurs && isClosed) return;
  throw new HypervisorError(
    'HYPERVISOR_DENIED',
    `the folder ${base} is not safe for sockets: others may change it`,
    {
      hint: 'give a folder that only you or root may write to with --socket-dir',
    },
  );
}

async function giveTo(path: string, owner: HostUser | undefined): Promise<void> {
  // Whatever the umask was.
  await chmod(path, 0o700);
  if (owner === undefined || owner.uid === process.geteuid?.()) return;
  try {
    await lchown(path, owner.uid, owner.gid);
  } catch (cause) {
    throw new HypervisorError(
      'HYPERVISOR_DENIED',
      `the folder ${path} cannot be given to user ${owner.uid}, as whom QEMU runs`,
      { cause, hint: 'run as root, or read over TCP with --listen and TLS' },
    );
  }
}

async function readRegularFile(path: string, maxBytes: number): Promise<Uint8Array> {
  // Not blocking: a FIFO in its place would be waited on for ever.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const info = await file.stat();
    if (!info.isFile()) throw new Error('it is not a regular file');
    if (info.size > maxBytes) throw new Error(`it has ${info.size} bytes, at most ${maxBytes} were expected`);
    const bytes = await file.readFile();
    if (bytes.length <= maxBytes) return bytes;
    throw new Error(`it grew beyond ${maxBytes} bytes while it was read`);
  } finally {
    await file.close();
  }
}
