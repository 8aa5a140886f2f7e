import { chmodSync } from 'node:fs';
import { lstat, stat, unlink } from 'node:fs/promises';
import { connect, type Server } from 'node:net';
import { dirname } from 'node:path';
import { isMainThread } from 'node:worker_threads';
import { NbdeltaError, UsageError } from '../../errors.js';

/** Longest path of a unix socket; a longer one would be cut off and bound elsewhere. Bytes. */
const LONGEST_PATH = 107;

/**
 * Makes the path free to listen at: a socket file that nobody listens on any more goes, anything else stays.
 * @throws UsageError when the path is not usable, NbdeltaError (NBD_LISTEN_FAILED) when somebody listens there.
 */
export async function claimSocketPath(path: string): Promise<void> {
  checkSocketPath(path);
  const found = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (!found) return checkFolder(dirname(path));
  if (!found.isSocket()) {
    throw new UsageError(`${path} exists and is not a socket`, { hint: 'choose another path' });
  }
  if (!(await isAbandoned(path))) {
    throw new NbdeltaError('NBD_LISTEN_FAILED', `somebody listens on ${path} already`, {
      hint: 'choose another path, or stop the server that uses it',
    });
  }
  await unlink(path);
}

/** A socket in a folder that is not there is refused as EACCES, as if it were a matter of permissions. */
async function checkFolder(folder: string): Promise<void> {
  const found = await stat(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (found?.isDirectory()) return;
  throw new NbdeltaError('NBD_LISTEN_FAILED', `cannot listen: there is no folder ${folder}`, {
    hint: 'make the folder, or choose another path',
    fields: { folder },
  });
}

function checkSocketPath(path: string): void {
  // Linux's abstract sockets start with NUL; everybody on the machine may connect to them.
  if (path === '' || path.includes('\0')) throw new UsageError('the socket path is empty or has a NUL');
  const length = Buffer.byteLength(path);
  if (length > LONGEST_PATH) {
    throw new UsageError(`socket path of ${length} bytes, at most ${LONGEST_PATH} allowed: ${path}`);
  }
}

/** Only a refused connection proves that nobody is there; no permission, for one, does not. */
function isAbandoned(path: string): Promise<boolean> {
  return new Promise(resolve => {
    const probe = connect(path);
    const settle = (abandoned: boolean) => {
      probe.destroy();
      resolve(abandoned);
    };
    probe.once('connect', () => settle(false));
    probe.once('error', (error: NodeJS.ErrnoException) => settle(error.code === 'ECONNREFUSED'));
  });
}

/** Listens at a path that nobody but our own user may connect to. Bound when it returns, or an 'error' follows. */
export function listenPrivately(server: Server, path: string): void {
  if (!isMainThread) {
    // A worker cannot set the umask: the file is open to others for the time of one system call.
    server.listen({ path });
    if (server.listening) chmodSync(path, 0o600);
    return;
  }
  const previous = process.umask(0o177);
  try {
    server.listen({ path });
  } finally {
    process.umask(previous);
  }
}
