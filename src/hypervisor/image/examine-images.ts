import { errorLine, NbdeltaError } from '../../errors.js';
import type { DiskSelection, Finding } from '../front-end.js';
import type { FrontEndOptions } from '../front-end-options.js';
import type { Host } from '../host/host.js';
import { planSocketFolder } from '../host/socket-folder.js';
import { newRunName, parseRunName } from '../run-name.js';
import { type ImageDisk, type NamedImage, noBitmap, readImageDisk } from './image-disks.js';
import { checkUnused, readQemuVersion } from './qemu-image.js';

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
  try {
    await checkUnused(disk.reference);
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
    } else yield { id: 'bitmap', status: 'ok', disk: name, text: `${text} records` };
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
