import { HypervisorError } from '../../errors.js';
import type { Host } from './host.js';

/** A folder on the way to something, with who may do what in it. */
export interface PathEntry {
  readonly path: string;
  readonly uid: number;
  readonly gid: number;
  /** Permission bits, as `chmod` takes them. */
  readonly mode: number;
}

/** A user with all groups that its processes have. */
export interface Accessor {
  readonly uid: number;
  readonly gids: readonly number[];
}

/** What of a path is there, from `/` down. */
export interface WalkedPath {
  /** Without symbolic links. */
  readonly path: string;
  readonly entries: readonly PathEntry[];
  readonly isThere: boolean;
}

const SEARCH = 1;
const WRITE = 2;

/** Looks at every folder on the way to `path`, whose end may not be there yet. */
export async function walkPath(host: Host, path: string): Promise<WalkedPath> {
  const resolved = await host.run('realpath', ['-m', '--', path]);
  if (resolved.code !== 0) {
    throw new HypervisorError('HYPERVISOR_FAILED', `cannot look at ${path}: ${resolved.stderr}`);
  }
  const real = resolved.stdout.toString('utf8').trimEnd();
  const wanted = pathsTo(real);
  // It goes on after what is not there, and says so with its exit code.
  const { stdout } = await host.run('stat', ['-c', '%a %u %g %n', '--', ...wanted]);
  const entries = parseEntries(stdout.toString('utf8'));
  return { path: real, entries, isThere: entries.length === wanted.length };
}

/** `/a/b` → `/`, `/a`, `/a/b`. */
export function pathsTo(path: string): readonly string[] {
  const parts = path.split('/').filter(part => part !== '');
  return ['/', ...parts.map((_, index) => `/${parts.slice(0, index + 1).join('/')}`)];
}

/** Reads lines of `stat -c '%a %u %g %n'`. */
export function parseEntries(output: string): readonly PathEntry[] {
  return output.split('\n').flatMap(line => {
    const [, mode, uid, gid, path] = /^([0-7]+) (\d+) (\d+) (.*)$/.exec(line) ?? [];
    if (mode === undefined || path === undefined) return [];
    return [{ path, uid: Number(uid), gid: Number(gid), mode: Number.parseInt(mode, 8) }];
  });
}

export function maySearch(user: Accessor, entry: PathEntry): boolean {
  return may(user, entry, SEARCH);
}

export function mayWrite(user: Accessor, entry: PathEntry): boolean {
  return may(user, entry, WRITE | SEARCH);
}

/** POSIX: the first class that fits decides, also when a later one would allow more. */
function may({ uid, gids }: Accessor, entry: PathEntry, wanted: number): boolean {
  if (uid === 0) return true;
  const shift = uid === entry.uid ? 6 : gids.includes(entry.gid) ? 3 : 0;
  return ((entry.mode >> shift) & wanted) === wanted;
}

/** The first folder on the way that a user cannot go through, by its mode bits. */
export function firstClosed(user: Accessor, { entries }: WalkedPath): PathEntry | undefined {
  return entries.find(entry => !maySearch(user, entry));
}

/**
 * The first folder on the way that keeps a user out. Access control lists are not in the mode bits (a common one lets
 * QEMU's user into a home folder), so that the system is asked by becoming that user, where we may.
 */
export async function findBarrier(
  host: Host,
  user: Accessor,
  walked: WalkedPath,
): Promise<PathEntry | undefined> {
  const closed = firstClosed(user, walked);
  if (closed === undefined) return undefined;
  const groups = user.gids.length === 0 ? ['--clear-groups'] : ['--groups', user.gids.join(',')];
  const become = ['--reuid', String(user.uid), '--regid', String(user.gids[0] ?? user.uid), ...groups];
  const last = walked.entries.at(-1) ?? closed;
  const { code } = await host.run('setpriv', [...become, '--', 'test', '-x', last.path]);
  return code === 0 ? undefined : closed;
}
