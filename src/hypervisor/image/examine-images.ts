import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { errorLine, NbdeltaError } from '../../errors.js';
import type { DiskSelection, Finding } from '../front-end.js';
import type { FrontEndOptions } from '../front-end-options.js';
import type { Host } from '../host/host.js';
import { planSocketFolder } from '../host/socket-folder.js';
import { newRunName, parseRunName } from '../run-name.js';
import { type ImageDisk, type NamedImage, noBitmap, readImageDisk } from './image-disks.js';
import { checkReadable, readQemuVersion } from './qemu-image.js';

/** What can be backed up of images, and how. Changes nothing. */
export async function* examineImages(
  host: Host,
  images: readonly NamedImage[],
  options: FrontEndOptions,
  { include, exclude = [] }: DiskSelection,
): AsyncGenerator<Finding> {
  yield { id: 'qemu-version', status: 'ok', text: `qemu-img ${await readQemuVersion()}` };
  for (const image of images) {
    if (include?.includes(image.name) === false || exclude.includes(image.name)) continue;
    yield* examineImage(image, options);
  }
  yield await examineSocketFolder(host, options);
  yield { id: 'guest-agent', status: 'info', text: 'the guest is off: there is nothing to freeze' };
}

async function* examineImage(image: NamedImage, options: FrontEndOptions): AsyncGenerator<Finding> {
  const { name } = image;
  let disk: ImageDisk;
  try {
    disk = await readImageDisk(image, options);
  } catch (error) {
    yield problem('image', name, error);
    return;
  }
  yield describeImage(disk);
  yield* examineBitmaps(disk);
  yield* examineAccess(disk);
  try {
    await checkReadable(disk.reference);
    yield { id: 'image-lock', status: 'ok', disk: name, text: `${disk.reference.path} is not in use` };
  } catch (error) {
    yield problem('image-lock', name, error);
  }
}

function describeImage({ name, info, reference }: ImageDisk): Finding {
  const { format, size, backing, isEncrypted } = info;
  const more = [isEncrypted ? 'encrypted' : '', backing === undefined ? '' : `on ${backing}`].filter(Boolean);
  const text = [`${size} bytes`, format, reference.path, ...more].join(', ');
  const none = noBitmap(name, info);
  if (none === null) return { id: 'disk', status: 'ok', disk: name, text };
  const fix = 'convert it to qcow2 (compat=1.1) for incrementals; until then it is read as a whole each time';
  return { id: 'disk', status: 'warning', disk: name, text: `${text}; ${none.text}`, fix };
}

function* examineBitmaps({ name, info }: ImageDisk): Generator<Finding> {
  for (const bitmap of info.bitmaps) {
    const whose = parseRunName(bitmap.name) === undefined ? "somebody else's" : "nbdelta's";
    const text = `bitmap ${bitmap.name} (${whose})`;
    if (bitmap.isInconsistent) {
      const fix = 'nothing to do: the next backup of this disk is a full';
      yield { id: 'bitmap', status: 'warning', disk: name, text: `${text} is inconsistent`, fix };
    } else if (bitmap.isRecording) yield { id: 'bitmap', status: 'ok', disk: name, text: `${text} records` };
    else yield { id: 'bitmap', status: 'info', disk: name, text: `${text} is disabled` };
  }
}

/** A backup adds a bitmap, and so writes to the image. */
async function* examineAccess({ name, info, reference }: ImageDisk): AsyncGenerator<Finding> {
  const [id, disk] = ['image-access', name];
  if (noBitmap(name, info) !== null) return;
  if (info.isCorrupt) {
    const text = `${reference.path} is marked as corrupt: no bitmap can be added to it`;
    yield {
      id,
      status: 'problem',
      disk,
      text,
      fix: 'qemu-img check -r all, or back it up with --level copy',
    };
    return;
  }
  try {
    await access(reference.path, constants.W_OK);
    yield { id, status: 'ok', disk, text: `${reference.path} may be written to, for its bitmaps` };
  } catch (error) {
    const fix = 'run as a user who may write to it, or back it up with --level copy, which only reads';
    yield { ...problem(id, name, error), fix };
  }
}

async function examineSocketFolder(host: Host, { socketDir }: FrontEndOptions): Promise<Finding> {
  try {
    const { path } = await planSocketFolder(host, newRunName('00000000').text, { base: socketDir });
    return { id: 'socket-folder', status: 'ok', text: `sockets are made in folders such as ${path}` };
  } catch (error) {
    return problem('socket-folder', undefined, error);
  }
}

function problem(id: string, disk: string | undefined, error: unknown): Finding {
  const hint = error instanceof NbdeltaError ? error.hint : undefined;
  return {
    ...{ id, status: 'problem', text: errorLine(error) },
    ...(disk !== undefined && { disk }),
    ...(hint !== undefined && { fix: hint }),
  };
}
