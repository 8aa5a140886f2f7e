import { errorLine, RepositoryError } from '../../errors.js';
import { type GuestSystem, holdsFiles, inspect, listFileSystems } from './file-systems.js';
import type { GuestfishSession } from './guestfish-session.js';
import { quoteWord } from './guestfish-words.js';

/** What is mounted at a path. */
export type Mounts = GuestSystem['mounts'];

export interface MountOptions {
  /** One file system, to be the root; without it what the operating system in the point mounts where. */
  readonly device?: string | undefined;
  readonly onNote?: ((text: string) => void) | undefined;
}

/**
 * Mounts what the paths are to mean: one named file system; or those of the operating system, as it does itself; or,
 * when there is no operating system, the only file system.
 * @throws RepositoryError FILE_SYSTEM_UNKNOWN, with the names of those there are.
 */
export async function mountGuest(session: GuestfishSession, options: MountOptions): Promise<void> {
  const { device, onNote } = options;
  if (device !== undefined) return await mountRoot(session, device);
  const systems = await inspect(session);
  if (systems.length > 1) {
    throw unknown(
      'the point holds more than one operating system',
      systems.map(({ root }) => root),
    );
  }
  if (systems.length === 0) return await mountRoot(session, await onlyFileSystem(session));
  for (const [path, from] of systems[0]!.mounts) {
    if (path === '/') await mountRoot(session, from);
    else await mountBelow(session, from, path, onNote);
  }
}

async function mountRoot(session: GuestfishSession, device: string): Promise<void> {
  try {
    await mount(session, device, '/');
  } catch (cause) {
    if ((cause as { readonly code?: string }).code === 'ABORTED') throw cause;
    const known = (await listFileSystems(session)).map(([name]) => name);
    const here = known.includes(device)
      ? errorLine(cause).replace(/^guestfish failed: /, '')
      : 'there is none';
    throw unknown(`cannot mount ${JSON.stringify(device)}: ${here}`, known, cause);
  }
}

/** What the guest mounts elsewhere may be on a disk that is not in the point: the rest can be read all the same. */
async function mountBelow(
  session: GuestfishSession,
  device: string,
  path: string,
  onNote: MountOptions['onNote'],
): Promise<void> {
  try {
    await mount(session, device, path);
  } catch (error) {
    if ((error as { readonly code?: string }).code === 'ABORTED') throw error;
    onNote?.(`${path} (${device}) could not be mounted: ${errorLine(error)}`);
  }
}

async function mount(session: GuestfishSession, device: string, path: string): Promise<void> {
  await session.command('mount-ro', quoteWord(device), quoteWord(path));
}

async function onlyFileSystem(session: GuestfishSession): Promise<string> {
  const all = await listFileSystems(session);
  const usable = all.filter(([, type]) => holdsFiles({ type }));
  if (usable.length === 1) return usable[0]![0];
  if (usable.length > 1) {
    throw unknown(
      'no operating system, and more than one file system',
      usable.map(([device]) => device),
    );
  }
  const found = all.map(([device, type]) => `${device}: ${type}`).join(', ') || 'nothing at all';
  throw unknown(`no file system that can be read; found ${found}`, []);
}

function unknown(message: string, devices: readonly string[], cause?: unknown): RepositoryError {
  return new RepositoryError('FILE_SYSTEM_UNKNOWN', message, {
    cause,
    hint:
      devices.length > 0
        ? `name one with --device: ${devices.join(', ')}`
        : 'it may be encrypted, or never formatted; restore brings back the whole disk',
    fields: { devices },
  });
}
