import { randomUUID } from 'node:crypto';
import { open } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { errorLine, HypervisorError, RepositoryError, toNbdeltaError, UsageError } from '../errors.js';
import { type AdaptedDomain, adaptDomain } from '../hypervisor/libvirt/define/adapt-domain.js';
import { checkNameIsFree, defineDomain } from '../hypervisor/libvirt/define/define-domain.js';
import type { ResolvedPoint } from '../repository/repository.js';
import { useRepository } from './open-repository.js';
import { isNbdUri } from './open-target.js';
import { type RestoreOptions, type RestoreResult, restore } from './restore.js';
import { targetFailed } from './targets/new-file.js';

export interface DefineGuestOptions extends Omit<RestoreOptions, 'disk' | 'output' | 'keepFormats'> {
  /** Name of the new guest. */
  readonly define: string;
  /** libvirt's connection URI. */
  readonly connect?: string | undefined;
  /** New network addresses: needed where the original runs on the same network. */
  readonly newMacs?: boolean | undefined;
}

/** A guest that was restored and defined; it is not started. */
export interface DefinedGuest extends RestoreResult {
  readonly guest: {
    readonly name: string;
    readonly uuid: string;
    /** Its description, as it was given to libvirt. */
    readonly description: string;
    /** What was changed or could not be, one sentence each. */
    readonly notices: readonly string[];
  };
}

const DESCRIPTION_FILE = 'domain.xml';
const NVRAM_FILE = 'nvram.fd';

/**
 * Restores all disks of a point into a folder and defines a guest with them under a new name, beside the original.
 * Whether that can be is looked at first; nothing is restored when not.
 * @throws RepositoryError when the point does not know its guest; HypervisorError; and as `restore` does.
 */
export async function defineGuest(options: DefineGuestOptions): Promise<DefinedGuest> {
  const { define: name, connect } = options;
  if (options.to === '-' || isNbdUri(options.to)) {
    throw new UsageError(`a guest's disks are restored into a folder, not to ${options.to}`);
  }
  const repository = await useRepository(options.repository);
  const resolved = await repository.resolve(options.point);
  const stored = await readDescription(resolved);
  await checkNameIsFree(connect, name);
  const pinned = `${resolved.machine.name}@${resolved.point.manifest.id}`;
  const restored = await restore({ ...options, repository, point: pinned, keepFormats: true });
  const folder = resolve(options.to);
  const nvram = await restoreNvram(resolved, folder, name);
  const uuid = randomUUID();
  const images = new Map(restored.disks.map(disk => [disk.disk, imageOf(disk.target)]));
  const newMacs = options.newMacs ?? false;
  const adapted = adaptDomain(stored, { name, uuid, images, nvram, newMacs });
  const description = join(folder, `${name}.xml`);
  await writeNew(description, adapted.xml);
  await defineOrSay(connect, adapted, description);
  return { ...restored, guest: { name, uuid, description, notices: adapted.notices } };
}

async function readDescription({ machine, point }: ResolvedPoint): Promise<string> {
  const bytes = await machine.readPointFile(point, DESCRIPTION_FILE);
  if (bytes !== undefined) return Buffer.from(bytes).toString('utf8');
  const { id, guest } = point.manifest;
  const how = guest === undefined ? 'an NBD URI' : `a ${guest.kind} source`;
  throw new RepositoryError(
    'POINT_UNKNOWN',
    `point ${id} does not describe its guest: it was taken from ${how}`,
    {
      hint: 'restore its disks without --define, and define a guest yourself; libvirt:DOMAIN backups know it',
      fields: { point: id },
    },
  );
}

function imageOf(target: string) {
  return { path: resolve(target), format: target.endsWith('.qcow2') ? ('qcow2' as const) : ('raw' as const) };
}

async function restoreNvram(
  { machine, point }: ResolvedPoint,
  folder: string,
  name: string,
): Promise<string | undefined> {
  const bytes = await machine.readPointFile(point, NVRAM_FILE);
  if (bytes === undefined) return undefined;
  const path = join(folder, `${name}.nvram.fd`);
  await writeNew(path, bytes);
  return path;
}

async function writeNew(path: string, content: string | Uint8Array): Promise<void> {
  try {
    const handle = await open(path, 'wx', 0o600);
    try {
      await handle.writeFile(content);
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch (cause) {
    throw targetFailed('write', path, cause);
  }
}

/** The disks are restored: whoever cannot define the guest now can do it later, by hand. */
async function defineOrSay(
  connect: string | undefined,
  { xml }: AdaptedDomain,
  description: string,
): Promise<void> {
  try {
    await defineDomain(connect, xml);
  } catch (cause) {
    const { code } = toNbdeltaError(cause);
    throw new HypervisorError(
      code,
      `all disks are restored, but libvirt does not define the guest: ${errorLine(cause)}`,
      {
        cause,
        hint: `correct ${description}, then: virsh define ${description}`,
        fields: { description },
      },
    );
  }
}
