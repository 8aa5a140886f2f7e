import { HypervisorError } from '../../errors.js';
import type { Action } from '../front-end.js';
import type { Host } from '../host/host.js';
import type { SessionRecord } from '../session-record.js';
import type { ImageReference } from './image-argument.js';
import { imageDetails, referenceOf } from './image-details.js';
import { readImageInfo, removeBitmap } from './qemu-image.js';
import { endServers } from './server-processes.js';

/**
 * Ends a session: its servers first, then its bitmaps (after an abort), then its folder. Safe twice.
 * @throws what failed first; everything else is ended all the same, and a later call tries the rest again.
 */
export async function endImages(
  host: Host,
  record: SessionRecord,
  outcome: 'commit' | 'abort',
): Promise<readonly Action[]> {
  const { folder, images } = imageDetails(record);
  const actions = [...(await endServers(folder))];
  const { checkpoint } = record;
  try {
    if (outcome === 'abort' && checkpoint !== null) {
      actions.push(...(await removeBitmaps(images.map(referenceOf), [checkpoint])));
    }
  } finally {
    actions.push(...(await removeSocketFolder(host, folder)));
  }
  return actions;
}

export async function removeSocketFolder(host: Host, folder: string): Promise<readonly Action[]> {
  if (!(await host.exists(folder))) return [];
  await host.removeFolder(folder);
  return [{ what: 'file-removed', name: folder, text: `folder ${folder} removed` }];
}

/**
 * Removes bitmaps of ours; where an image was taken into use meanwhile, they stay, and that is said.
 * @throws what failed first, after all of them were tried.
 */
export async function removeBitmaps(
  images: readonly ImageReference[],
  names: readonly string[],
): Promise<readonly Action[]> {
  const actions: Action[] = [];
  const failures: unknown[] = [];
  // Only qcow2 has any.
  for (const image of images.filter(({ format }) => format === 'qcow2')) {
    for (const name of names) {
      try {
        actions.push(...(await removeOne(image, name)));
      } catch (error) {
        failures.push(error);
      }
    }
  }
  if (failures.length > 0) throw failures[0];
  return actions;
}

async function removeOne(image: ImageReference, name: string): Promise<readonly Action[]> {
  try {
    const text = `bitmap ${name} of ${image.path} removed`;
    return (await removeBitmap(image, name)) ? [{ what: 'bitmap-removed', name, text }] : [];
  } catch (error) {
    if (!(error instanceof HypervisorError)) throw error;
    return (await hasBitmap(image, name)) ? [leftBehind(image, name, error)] : [];
  }
}

/** Whether there is anything to be removed: an image that cannot be written to may never have got it. */
async function hasBitmap({ path, format }: ImageReference, name: string): Promise<boolean> {
  try {
    const { bitmaps } = await readImageInfo(path, format);
    return bitmaps.some(bitmap => bitmap.name === name);
  } catch {
    // Nobody knows: then it may be.
    return true;
  }
}

/** @throws the error, unless the image is another's now. */
function leftBehind({ path }: ImageReference, name: string, error: HypervisorError): Action {
  const what = 'left';
  if (error.code === 'GUEST_UNKNOWN') {
    const text = `${path} is not the image any more: if it was moved, bitmap ${name} is in it still`;
    return { what, name, text };
  }
  if (error.code !== 'IMAGE_IN_USE') throw error;
  const how = `the next backup of the machine removes it; or: qemu-img bitmap --remove ${path} ${name}`;
  return { what, name, text: `bitmap ${name} stays in ${path}, which is in use now; ${how}` };
}
