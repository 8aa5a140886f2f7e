import { toNbdeltaError } from '../../errors.js';
import type { GuestfishSession } from './guestfish-session.js';
import { quoteWord } from './guestfish-words.js';

/** A file system, or what is in the place of one, as libguestfs sees it. */
export interface FileSystem {
  /** libguestfs's name, for `--device`: `/dev/sda1`, `/dev/vg/root`, `btrfsvol:/dev/sda2/home`. */
  readonly device: string;
  /** The disk of the point, when the name shows it. */
  readonly disk: string | null;
  /** `ext4`, `xfs`, `ntfs` …; `swap`; `unknown`. */
  readonly type: string;
  readonly label: string | null;
  /** Bytes. */
  readonly size: number | null;
  /** Where the operating system in the point mounts it, when there is one. */
  readonly mountPoint: string | null;
}

/** An operating system that was found, by the file system of its root. */
export interface GuestSystem {
  readonly root: string;
  /** Path → device, the shortest path first: the order in which to mount. */
  readonly mounts: readonly (readonly [path: string, device: string])[];
}

/** Types that hold no files. */
const NO_FILES = ['swap', 'unknown', '', 'crypto_LUKS', 'LVM2_member', 'linux_raid_member'];

export function holdsFiles({ type }: Pick<FileSystem, 'type'>): boolean {
  return !NO_FILES.includes(type);
}

/** `KEY: VALUE` lines; a key may hold a colon itself (`btrfsvol:/dev/sda1/x`). */
export function parsePairs(text: string): readonly (readonly [string, string])[] {
  return text
    .split('\n')
    .filter(line => line.includes(': '))
    .map(line => {
      const at = line.lastIndexOf(': ');
      return [line.slice(0, at), line.slice(at + 2)] as const;
    });
}

/** The operating systems in the disks; none in a disk that holds just data. */
export async function inspect(session: GuestfishSession): Promise<readonly GuestSystem[]> {
  const roots = (await session.command('inspect-os')).toString('utf8').split('\n').filter(Boolean);
  const systems: GuestSystem[] = [];
  for (const root of roots) {
    const mounts = parsePairs(
      (await session.command('inspect-get-mountpoints', quoteWord(root))).toString('utf8'),
    );
    systems.push({ root, mounts: mounts.toSorted(([a], [b]) => a.length - b.length) });
  }
  return systems;
}

export async function listFileSystems(
  session: GuestfishSession,
): Promise<readonly (readonly [device: string, type: string])[]> {
  return parsePairs((await session.command('list-filesystems')).toString('utf8'));
}

/** Everything about all file systems. @param disks in the order in which the appliance has them. */
export async function describeFileSystems(
  session: GuestfishSession,
  disks: readonly string[],
  systems: readonly GuestSystem[],
): Promise<readonly FileSystem[]> {
  const described: FileSystem[] = [];
  for (const [device, type] of await listFileSystems(session)) {
    const mount = systems.flatMap(({ mounts }) => mounts).find(([, mounted]) => mounted === device);
    const label = await ask(session, 'vfs-label', device);
    const size = Number((await ask(session, 'blockdev-getsize64', device)) ?? Number.NaN);
    described.push({
      ...{ device, disk: diskOf(device, disks), type, label },
      size: Number.isSafeInteger(size) ? size : null,
      mountPoint: mount?.[0] ?? null,
    });
  }
  return described;
}

/** `null` when there is none: not every kind of file system has a label, nor a subvolume a size. */
async function ask(session: GuestfishSession, command: string, device: string): Promise<string | null> {
  try {
    return (await session.command(command, quoteWord(device))).toString('utf8').trim() || null;
  } catch (error) {
    if (toNbdeltaError(error).code === 'ABORTED') throw error;
    return null;
  }
}

/** The appliance calls our disks /dev/sda, /dev/sdb … /dev/sdz, /dev/sdaa, in order. */
export function diskOf(device: string, disks: readonly string[]): string | null {
  const letters = /^(?:btrfsvol:)?\/dev\/sd([a-z]{1,2})(?:\d|\/|$)/.exec(device)?.[1];
  if (letters === undefined) return null;
  const index = [...letters].reduce((sum, letter) => sum * 26 + letter.charCodeAt(0) - 96, 0) - 1;
  return disks[index] ?? null;
}
