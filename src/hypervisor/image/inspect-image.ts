import { type Stats } from 'node:fs';
import { stat } from 'node:fs/promises';
import { errorLine, HypervisorError } from '../../errors.js';
import type { GuestDisk, Reason } from '../front-end.js';
import { hostFailure, isMissing } from '../host/host-failure.js';
import type { OpenableImage } from './image-argument.js';
import { checkGuessedFormat, formatOfName } from './image-format.js';
import type { ImageInfo } from './image-info.js';
import type { ImageSource } from './image-source.js';
import { readImageInfo } from './qemu-img.js';

/** An image that is there, and how to open it. */
export interface Image extends OpenableImage {
  readonly name: string;
  readonly info: ImageInfo;
  /** Why no bitmap can be kept on it. */
  readonly noBitmap: Reason | null;
}

/** Looks at an image, also while it is in use. @throws HypervisorError GUEST_UNKNOWN, HYPERVISOR_DENIED … */
export async function inspectImage({ name, path, format: given }: ImageSource): Promise<Image> {
  const isDevice = await checkPlace(path);
  const said = given ?? formatOfName(path);
  const info = await readImageInfo({ path, isDevice }, said);
  if (said === undefined) checkGuessedFormat(path, info);
  const isEncrypted = info.encryption !== undefined;
  return { name, path, isDevice, format: info.format, isEncrypted, info, noBitmap: whyNoBitmap(name, info) };
}

export function guestDisk({ name, path, format, info, noBitmap }: Image): GuestDisk {
  return { name, size: info.size, format, source: path, noBitmap };
}

/** Whether it is a block device. QEMU would wait for a FIFO, and read a terminal. */
async function checkPlace(path: string): Promise<boolean> {
  let found: Stats;
  try {
    found = await stat(path);
  } catch (error) {
    if (!isMissing(error)) throw hostFailure(`cannot look at image ${path}`, error);
    throw new HypervisorError('GUEST_UNKNOWN', `there is no image ${path}`, { cause: error, fields: { path } });
  }
  if (found.isFile() || found.isBlockDevice()) return found.isBlockDevice();
  const kind = found.isDirectory() ? 'a folder' : 'neither a file nor a block device';
  throw new HypervisorError('GUEST_UNKNOWN', `${path} is ${kind}: expected a disk image`, { fields: { path } });
}

function whyNoBitmap(name: string, { format, compat }: ImageInfo): Reason | null {
  const code = 'no-persistent-bitmap';
  if (format !== 'qcow2') return { code, text: `disk ${name} is ${format}: only qcow2 keeps bitmaps` };
  if (compat !== '0.10') return null;
  return { code, text: `disk ${name} is a qcow2 of version 2, which keeps no bitmaps (qemu-img amend -o compat=1.1)` };
}

/** @throws HypervisorError when an image is encrypted and cannot be decrypted with what was given. */
export async function checkDecryptable({ path, format, info }: Image, secretFile: string | undefined): Promise<void> {
  if (info.encryption === undefined) return;
  if (info.encryption !== 'luks') {
    throw new HypervisorError('GUEST_STATE', `image ${path} is encrypted with ${info.encryption}, which QEMU gave up`, {
      hint: 'convert it to LUKS with qemu-img convert',
    });
  }
  const own = format === 'luks' ? '; if the guest encrypts it by itself, give it a name that ends in .raw' : '';
  if (secretFile === undefined) {
    throw new HypervisorError('HYPERVISOR_DENIED', `image ${path} is encrypted (LUKS)`, {
      hint: `give the file with its passphrase with --secret${own}`,
    });
  }
  await stat(secretFile).catch(cause => {
    throw new HypervisorError('HYPERVISOR_DENIED', `the secret ${secretFile} cannot be read: ${errorLine(cause)}`, {
      cause,
      hint: 'give the file with the passphrase with --secret',
    });
  });
}
