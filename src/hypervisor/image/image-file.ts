import type { BigIntStats } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { errorLine, HypervisorError } from '../../errors.js';
import { hostFailure, isMissing } from '../host/host-failure.js';

/** The file or device that an image is in. */
export interface ImageFile {
  readonly isDevice: boolean;
  /** Tells it from another file of the same name. */
  readonly identity: string;
  /** Changes when it is written to; `null` for a device, which does not tell. */
  readonly change: string | null;
}

/** @throws HypervisorError GUEST_UNKNOWN when it is none that QEMU could read; HYPERVISOR_DENIED. */
export async function readImageFile(path: string): Promise<ImageFile> {
  const found = await statImage(path);
  const isDevice = found.isBlockDevice();
  // QEMU would wait for a FIFO, and read a terminal.
  if (!found.isFile() && !isDevice) throw notAnImage(path, kindOf(found));
  if (!isDevice && found.size === 0n) throw notAnImage(path, 'empty');
  return {
    isDevice,
    identity: `${found.dev}:${found.ino}`,
    change: isDevice ? null : `${found.size}:${found.mtimeNs}`,
  };
}

async function statImage(path: string): Promise<BigIntStats> {
  try {
    return await stat(path, { bigint: true });
  } catch (cause) {
    if (!isMissing(cause)) throw hostFailure(`cannot look at ${path}`, cause);
    const fields = { image: path };
    throw new HypervisorError('GUEST_UNKNOWN', `there is no image ${path}`, {
      ...{ cause, fields, hint: 'check the path' },
    });
  }
}

function kindOf(found: BigIntStats): string {
  return found.isDirectory() ? 'a folder' : 'neither a file nor a block device';
}

function notAnImage(path: string, what: string): HypervisorError {
  return new HypervisorError('GUEST_UNKNOWN', `${path} is ${what}, not an image`, {
    hint: 'name a file or a block device with a disk in it',
    fields: { image: path },
  });
}

/** QEMU reads the passphrase several times: it must stay readable. @throws HypervisorError HYPERVISOR_DENIED. */
export async function checkSecretFile(path: string): Promise<void> {
  try {
    const found = await stat(path);
    if (!found.isFile()) throw new Error('it is not a regular file');
    await (await open(path, 'r')).close();
  } catch (cause) {
    throw new HypervisorError('HYPERVISOR_DENIED', `the secret ${path} cannot be read: ${errorLine(cause)}`, {
      ...{ cause, hint: 'give the file with the passphrase with --secret' },
    });
  }
}
