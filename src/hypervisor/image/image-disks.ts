import { realpath } from 'node:fs/promises';
import { basename, extname, resolve } from 'node:path';
import { HypervisorError, UsageError } from '../../errors.js';
import type { GuestDisk, Reason } from '../front-end.js';
import type { FrontEndOptions } from '../front-end-options.js';
import type { ImageReference } from './image-argument.js';
import { checkSecretFile, readImageFile } from './image-file.js';
import { checkGuessedFormat, formatOfName } from './image-format.js';
import type { ImageInfo } from './image-info.js';
import { readImageInfo } from './qemu-image.js';

/** An image to be read, as it was named. */
export interface NamedImage {
  readonly name: string;
  readonly path: string;
  /** Of the image, where somebody knows it better than a look at the file; libvirt does. */
  readonly format?: string | undefined;
}

/** An image as it is now. */
export interface ImageDisk {
  readonly name: string;
  readonly reference: ImageReference;
  readonly info: ImageInfo;
  /** Tells later whether it is the same file still. */
  readonly identity: string;
}

/**
 * What images are called: as they were named, or after their files.
 * @throws UsageError when two are called the same.
 */
export function nameImages(
  given: readonly { readonly disk: string | undefined; readonly path: string }[],
): readonly NamedImage[] {
  const images = given.map(({ disk, path }) => ({ name: disk ?? nameFromPath(path), path }));
  const twice = images.find((image, index) => images.findIndex(({ name }) => name === image.name) !== index);
  if (twice === undefined) return images;
  throw new UsageError(`two images are called ${twice.name}`, {
    hint: 'name them: vda=image:PATH vdb=image:PATH',
  });
}

const LONGEST_NAME = 64;

/** The file's name without its ending, as a disk may be called. */
export function nameFromPath(path: string): string {
  const file = basename(path);
  const name = file
    .slice(0, file.length - extname(file).length)
    .replace(/[^A-Za-z0-9._-]/g, '-')
    .replace(/^[^A-Za-z0-9]+/, '')
    .slice(0, LONGEST_NAME);
  return name === '' ? 'disk0' : name;
}

/** Looks at the image. @throws HypervisorError GUEST_UNKNOWN, HYPERVISOR_DENIED and others; UsageError. */
export async function readImageDisk(
  image: NamedImage,
  options: Pick<FrontEndOptions, 'secretFile'>,
): Promise<ImageDisk> {
  const { name } = image;
  const { isDevice, identity } = await readImageFile(image.path);
  const path = await realpath(image.path);
  // The name that was given counts, not what it is a link to.
  const said = image.format ?? formatOfName(image.path);
  const info = await readImageInfo(path, said);
  if (said === undefined) checkGuessedFormat(path, info);
  const secretFile = options.secretFile === undefined ? undefined : resolve(options.secretFile);
  if (info.isEncrypted) await checkSecret(image.path, secretFile);
  const { format, isEncrypted } = info;
  return { name, reference: { path, format, isDevice, isEncrypted, secretFile }, info, identity };
}

async function checkSecret(path: string, secretFile: string | undefined): Promise<void> {
  if (secretFile !== undefined) return await checkSecretFile(secretFile);
  throw new HypervisorError('HYPERVISOR_DENIED', `${path} is encrypted`, {
    hint: 'give the file with its passphrase with --secret',
    fields: { image: path },
  });
}

/** @throws UsageError when two of them are the same file: each would take the other's bitmaps for its own. */
export function checkDistinct(disks: readonly ImageDisk[]): void {
  for (const [index, disk] of disks.entries()) {
    const twin = disks.slice(0, index).find(({ identity }) => identity === disk.identity);
    if (twin !== undefined) throw new UsageError(`${twin.name} and ${disk.name} are the same image`);
  }
}

export function describeGuestDisk({ name, info, reference }: ImageDisk): GuestDisk {
  return {
    name,
    size: info.size,
    format: info.format,
    source: reference.path,
    noBitmap: noBitmap(name, info),
  };
}

/** Why no bitmap can be kept in the image. */
export function noBitmap(name: string, { keepsBitmaps, format }: ImageInfo): Reason | null {
  if (keepsBitmaps) return null;
  const what = format === 'qcow2' ? 'qcow2 of version 2 (compat=0.10)' : format;
  return { code: 'no-persistent-bitmap', text: `disk ${name} cannot keep a bitmap: its format is ${what}` };
}
