import { dirname } from 'node:path';
import type { Finding } from '../../front-end.js';
import type { Host } from '../../host/host.js';
import { findBarrier, walkPath } from '../../host/path-access.js';
import { qemuUser } from '../qemu-user.js';
import { forecastScratch, inspectScratch, type Scratch } from '../scratch.js';
import type { DomainView } from './domain-view.js';
import { qemuAccessor } from './qemu-accessor.js';
import { QEMU_CONF, readOwnershipDynamic } from './qemu-conf.js';

/** The place for scratch files: room for the worst case, whose file system it is, and whether QEMU can open them. */
export async function* examineScratch(view: DomainView): AsyncGenerator<Finding> {
  const { connection, disks, sizes } = view;
  const scratch = await inspectScratch(connection, disks.length);
  yield judgeRoom(scratch, [...sizes.values()]);
  if (scratch.isDevice) return;
  yield* examineAccess(view, scratch.place);
  yield* await examineFileSystem(view, scratch.place);
}

/** libvirt makes the files and gives them to QEMU's user, who must get to them. */
async function* examineAccess({ connection, domain }: DomainView, place: string): AsyncGenerator<Finding> {
  const { host } = connection;
  const user = await qemuUser(connection, domain);
  if (user === undefined || user.uid === 0) return;
  const accessor = await qemuAccessor(host, user);
  const barrier = await findBarrier(host, accessor, await walkPath(host, place));
  if (barrier !== undefined) yield { ...closed(barrier.path, accessor.name), id: 'scratch-access' };
  if ((await readOwnershipDynamic(host)) !== false) return;
  yield {
    ...{ id: 'scratch-owner', status: 'problem' },
    text: `dynamic_ownership = 0: scratch files would be root's, and QEMU, which runs as ${accessor.name}, cannot open them`,
    fix: `set dynamic_ownership = 1 in ${QEMU_CONF} and restart libvirt's daemon`,
  };
}

/** @param sizes of all disks: at worst the guest overwrites every block of them while the job runs. */
export function judgeRoom(scratch: Scratch, sizes: readonly number[]): Finding {
  const { place, isDevice, room, reserve } = scratch;
  const fix = 'free space there, or name another place with --scratch';
  const id = 'scratch-space';
  if (!isDevice && room < reserve) {
    const text = `${place} has ${room} bytes free; no job begins with less than ${reserve} (--scratch-reserve)`;
    return { id, status: 'problem', text, fix };
  }
  const [warning] = forecastScratch(scratch, sizes);
  if (warning !== undefined) {
    const text = `${warning.text}; the job is ended before it fills, and the guest goes on`;
    return { id, status: 'warning', text, fix: `${fix}, or take the backup while the guest writes little` };
  }
  return {
    id,
    status: 'ok',
    text: `${place}: ${room} bytes free, enough even if the guest overwrites everything`,
  };
}

/** What to do about a folder that QEMU's user cannot go through. */
export function closed(path: string, user: string): Omit<Finding, 'id'> {
  const text = `QEMU runs as ${user}, which may not go through ${path}`;
  const fix = `\`setfacl -m u:${user}:x ${path}\` (or chmod o+x), or choose another place`;
  return { status: 'problem', text, fix };
}

async function examineFileSystem(
  { connection: { host }, disks }: DomainView,
  place: string,
): Promise<readonly Finding[]> {
  const own = await deviceOf(host, place);
  const shared: string[] = [];
  for (const { target, path, type } of disks) {
    if (path === undefined || type !== 'file') continue;
    if (own !== undefined && (await deviceOf(host, dirname(path))) === own) shared.push(target);
  }
  if (shared.length === 0) return [];
  const text = `${place} is on the file system of the images of ${shared.join(', ')}: what fills one, fills both`;
  return [{ id: 'scratch-file-system', status: 'info', text }];
}

/** The number of the file system that a path is on. */
async function deviceOf(host: Host, path: string): Promise<string | undefined> {
  const { code, stdout } = await host.run('stat', ['-L', '-c', '%d', '--', path]);
  return code === 0 ? stdout.toString('utf8').trim() : undefined;
}
