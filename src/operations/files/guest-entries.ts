import { NbdeltaError } from '../../errors.js';
import type { GuestfishSession } from './guestfish-session.js';
import { canBeListed, quoteWord } from './guestfish-words.js';

export type FileKind = 'file' | 'folder' | 'link' | 'device' | 'fifo' | 'socket' | 'unknown';

/** What a guest's file system says of a file. */
export interface FileStatus {
  readonly kind: FileKind;
  /** Permission bits, with set-id and sticky ones. */
  readonly mode: number;
  /** Bytes. */
  readonly size: number;
  readonly uid: number;
  readonly gid: number;
  /** ISO 8601. */
  readonly modified: string;
}

export interface GuestFile extends FileStatus {
  /** As UTF-8; what is no UTF-8 in it shows as `\ufffd`. */
  readonly name: string;
  /** Of a link, where it leads. */
  readonly target: string | null;
}

/** The upper bits of `st_mode`, as in `stat.h`. */
const KINDS: ReadonlyMap<number, FileKind> = new Map([
  [0o010000, 'fifo'],
  [0o020000, 'device'],
  [0o040000, 'folder'],
  [0o060000, 'device'],
  [0o100000, 'file'],
  [0o120000, 'link'],
  [0o140000, 'socket'],
]);

/** Names that are asked for at once. */
const BATCH = 500;

/**
 * `st_size: 2` lines, one struct or `[0] = {…}` many; undefined for a file that went away (`st_ino: -1`).
 * @throws NbdeltaError TOOL_MISSING when it is not what libguestfs prints.
 */
export function parseStatuses(text: string): readonly (FileStatus | undefined)[] {
  return text
    .split(/(?=^ *st_dev: )/m)
    .filter(part => /^ *st_dev: /.test(part))
    .map(part => {
      const fields = new Map(
        [...part.matchAll(/^ *st_(\w+): (-?\d+)$/gm)].map(([, name, value]) => [name, Number(value)]),
      );
      const field = (name: string): number => {
        const value = fields.get(name);
        if (value !== undefined) return value;
        throw new NbdeltaError('TOOL_MISSING', `guestfish's answer has no st_${name}`);
      };
      if (field('ino') === -1) return undefined;
      const mode = field('mode');
      return {
        ...{ kind: KINDS.get(mode & 0o170000) ?? 'unknown', mode: mode & 0o7777, size: field('size') },
        ...{ uid: field('uid'), gid: field('gid') },
        modified: isoTime(field('mtime_sec')),
      };
    });
}

/** A damaged inode may have any time; the furthest that can be written stands for what lies beyond. */
function isoTime(seconds: number): string {
  const limit = 8.64e12;
  return new Date(Math.min(limit, Math.max(-limit, seconds)) * 1000).toISOString();
}

/** The file that a path leads to, links followed inside the guest. @throws RepositoryError FILE_UNKNOWN. */
export async function readStatus(session: GuestfishSession, path: string): Promise<FileStatus> {
  return await askStatus(session, 'statns', Buffer.from(path));
}

async function askStatus(session: GuestfishSession, command: string, path: Uint8Array): Promise<FileStatus> {
  const reply = await session.command(command, quoteWord(path));
  const status = parseStatuses(reply.toString('latin1'))[0];
  if (status) return status;
  throw new NbdeltaError('TOOL_MISSING', `guestfish says nothing of ${JSON.stringify(path.toString())}`);
}

/** What is in a folder, by name. @throws RepositoryError FILE_UNKNOWN; UsageError when it is no folder. */
export async function listFolder(session: GuestfishSession, path: string): Promise<readonly GuestFile[]> {
  const names = splitNames(await session.command('ls0', quoteWord(path), '/dev/stdout'));
  names.sort(Buffer.compare);
  const files: GuestFile[] = [];
  const plain = names.filter(canBeListed);
  for (let at = 0; at < plain.length; at += BATCH) {
    const some = plain.slice(at, at + BATCH);
    const reply = await session.command('lstatnslist', quoteWord(path), `"${some.join(' ')}"`);
    const statuses = parseStatuses(reply.toString('latin1'));
    for (const [index, name] of some.entries()) {
      const status = statuses[index];
      if (status) files.push(await describe(session, path, name, status));
    }
  }
  for (const name of names.filter(each => !canBeListed(each))) {
    files.push(await describe(session, path, name, await askStatus(session, 'lstatns', join(path, name))));
  }
  return files.sort((a, b) => (a.name < b.name ? -1 : 1));
}

async function describe(
  session: GuestfishSession,
  folder: string,
  bytes: Buffer,
  status: FileStatus,
): Promise<GuestFile> {
  const name = bytes.toString('utf8');
  if (status.kind !== 'link') return { name, ...status, target: null };
  const target = await session.command('readlink', quoteWord(join(folder, bytes)));
  return { name, ...status, target: target.toString('utf8').replace(/\n$/, '') };
}

/** Names with a zero byte behind each: the only byte that no name can have. */
export function splitNames(bytes: Buffer): Buffer[] {
  const names: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf(0, at);
    const stop = end < 0 ? bytes.length : end;
    names.push(bytes.subarray(at, stop));
    at = stop + 1;
  }
  return names;
}

function join(folder: string, name: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from(folder.endsWith('/') ? folder : `${folder}/`), name]);
}
