import { NbdeltaError, StorageError } from '../errors.js';

/** What a user should know about an errno. The message has the fact, the hint what to do. */
const ERRNO_HINTS: Readonly<Record<string, string>> = {
  ENOSPC: 'The file system is full: free space, or prune old points.',
  EDQUOT: 'The quota is used up: free space, or raise the quota.',
  EACCES: 'Give the user that runs nbdelta access to the repository, or run it as the user that owns it.',
  EPERM: 'The file system or its owner does not allow this; hard links are needed for a commit.',
  EROFS: 'The file system is mounted read-only.',
  ENOENT: 'Check that the path is right and its file system is mounted.',
  ENOTDIR: 'A part of the path is not a folder.',
  ELOOP: 'Symbolic links are not followed inside a repository.',
  ENOTSUP: 'The file system has no hard links, which a commit needs: use another one.',
  EOPNOTSUPP: 'The file system has no hard links, which a commit needs: use another one.',
  EIO: 'The disk or the network file system under the repository reports damage: see the kernel log.',
  ESTALE: 'The network file system was unmounted or exported anew: mount it again.',
  EMFILE: 'Too many open files: raise the limit (ulimit -n).',
};

const RETRYABLE = new Set(['EAGAIN', 'EBUSY', 'EINTR', 'EMFILE', 'ENFILE', 'ETIMEDOUT']);

/** The errno name of a thrown value (`ENOENT`), or `null` when it has none. */
export function errnoOf(error: unknown): string | null {
  if (!(error instanceof Error) || !('code' in error) || !('errno' in error)) return null;
  return typeof error.code === 'string' ? error.code : null;
}

/** `error` as a {@link StorageError} that names the action, the path and the errno; our own errors stay. */
export function storageFailure(action: string, path: string, error: unknown): NbdeltaError {
  if (error instanceof NbdeltaError) return error;
  const errno = errnoOf(error);
  const reason = errno ?? (error instanceof Error ? error.message : String(error));
  const hint = errno === null ? undefined : ERRNO_HINTS[errno];
  return new StorageError(`cannot ${action} ${path}: ${reason}`, {
    cause: error,
    retryable: errno !== null && RETRYABLE.has(errno),
    fields: { path, ...(errno === null ? {} : { errno }) },
    ...(hint === undefined ? {} : { hint }),
  });
}

/** Runs `work`; what it throws becomes a {@link storageFailure}. */
export async function withStorageFailure<T>(
  action: string,
  path: string,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw storageFailure(action, path, error);
  }
}
