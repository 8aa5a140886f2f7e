import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { HypervisorError, UsageError } from '../../errors.js';
import type { Host, HostUser } from './host.js';

/** sun_path has 108 bytes, the last of them NUL: a longer path is cut by some servers and refused by others. */
export const LONGEST_SOCKET_PATH = 107;

/** A private folder for the sockets of one run. */
export interface SocketFolder {
  readonly path: string;
  /** The socket in it, which its server makes. */
  readonly socket: string;
}

export interface SocketFolderOptions {
  /** Where it is made; see {@link defaultSocketBase}. */
  readonly base: string | undefined;
  /** As whom the server runs; us, without. */
  readonly owner?: HostUser | undefined;
}

/**
 * Where a run's private folder will be: `BASE/RUN`, called like the run, so that a later one recognises what a dead
 * one left.
 * @throws UsageError when the socket's path would be too long.
 */
export async function planSocketFolder(
  host: Host,
  run: string,
  { base }: SocketFolderOptions,
): Promise<SocketFolder> {
  const path = join(base ?? (await defaultSocketBase(host)), run);
  return { path, socket: socketPath(path) };
}

/** Makes it: only `owner` and we can enter. @throws UsageError; HypervisorError HYPERVISOR_DENIED. */
export async function makeSocketFolder(
  host: Host,
  run: string,
  options: SocketFolderOptions,
): Promise<SocketFolder> {
  const folder = await planSocketFolder(host, run, options);
  await host.makePrivateFolder(dirname(folder.path), run, options.owner);
  return folder;
}

/** @throws UsageError when the path is longer than a unix socket's may be, or not absolute. */
export function socketPath(folder: string, name = 's'): string {
  const path = join(folder, name);
  if (!path.startsWith('/')) {
    throw new UsageError(`the folder for sockets must be an absolute path, not ${JSON.stringify(folder)}`);
  }
  const bytes = Buffer.byteLength(path);
  if (bytes <= LONGEST_SOCKET_PATH) return path;
  throw new UsageError(
    `the socket's path ${path} has ${bytes} bytes; a unix socket's has at most ${LONGEST_SOCKET_PATH}`,
    { hint: 'give a shorter folder with --socket-dir' },
  );
}

/**
 * Where the folders are made when nothing is said: /run/nbdelta for root, nbdelta in $XDG_RUNTIME_DIR for others,
 * or in the folder for temporary files.
 */
export async function defaultSocketBase(host: Host): Promise<string> {
  const { uid, runtime, temporary } = host.isLocal ? localPlaces() : await remotePlaces(host);
  if (uid === 0) return '/run/nbdelta';
  return runtime.startsWith('/') ? join(runtime, 'nbdelta') : join(temporary, `nbdelta-${uid}`);
}

interface Places {
  readonly uid: number;
  readonly runtime: string;
  readonly temporary: string;
}

function localPlaces(): Places {
  return {
    uid: process.geteuid?.() ?? 0,
    runtime: process.env['XDG_RUNTIME_DIR'] ?? '',
    temporary: tmpdir(),
  };
}

async function remotePlaces(host: Host): Promise<Places> {
  const { code, stdout, stderr } = await host.run('sh', ['-c', 'id -u; echo "$XDG_RUNTIME_DIR"']);
  const [digits = '', runtime = ''] = stdout.toString('utf8').split('\n');
  if (code === 0 && /^\d+$/.test(digits)) return { uid: Number(digits), runtime, temporary: '/tmp' };
  throw new HypervisorError('HYPERVISOR_FAILED', `${host.name} does not say who we are there: ${stderr}`, {
    hint: 'name the folder for sockets with --socket-dir',
  });
}
