import { realpath, stat } from 'node:fs/promises';
import { basename, extname, resolve } from 'node:path';
import { HypervisorError, UsageError } from '../../errors.js';
import type { GuestDisk, Reason } from '../front-end.js';
import type { FrontEndOptions } from '../front-end-options.js';
import { hostFailure, isMissing } from '../host/host-failure.js';
import type { ImageInfo } from './image-info.js';
import type { ImageReference } from './image-options.js';
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
  readonly inode: number;
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

/** Looks at the image. @throws HypervisorError GUEST_UNKNOWN, HYPERVISOR_DENIED and others. */
export async function readImageDisk(image: NamedImage, options: FrontEndOptions): Promise<ImageDisk> {
  const path = await realPath(image.path);
  const file = await stat(path);
  if (file.isDirectory()) {
    throw new HypervisorError('GUEST_UNKNOWN', `${image.path} is a folder, not an image`, {
      hint: 'name the image in it',
    });
  }
  const info = await readImageInfo(path, image.format);
  const reference: ImageReference = {
    ...{ path, format: info.format, isDevice: file.isBlockDevice(), isEncrypted: info.isEncrypted },
    secretFile: options.secretFile === undefined ? undefined : resolve(options.secretFile),
  };
  if (info.isEncrypted && options.secretFile === undefined) throw needsSecret(image.path);
  return { name: image.name, reference, info, inode: file.ino };
}

async function realPath(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (cause) {
    if (!isMissing(cause)) throw hostFailure(`cannot look at ${path}`, cause);
    throw new HypervisorError('GUEST_UNKNOWN', `there is no image ${path}`, {
      cause,
      hint: 'check the path',
    });
  }
}

function needsSecret(path: string): HypervisorError {
  return new HypervisorError('HYPERVISOR_DENIED', `${path} is encrypted`, {
    hint: 'give the file with its passphrase with --secret',
    fields: { image: path },
  });
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
