import { HypervisorError } from '../../errors.js';
import type { Action } from '../front-end.js';
import type { Host } from '../host/host.js';
import { listCommands } from '../host/process-start.js';
import type { SessionRecord } from '../session-record.js';
import { imageDetails, referenceOf } from './image-details.js';
import type { ImageReference } from './image-options.js';
import { endProcess } from './nbd-process.js';
import { removeBitmap } from './qemu-image.js';

/** Ends a session: its servers first, then its bitmaps (after an abort), then its folder. Safe twice. */
export async function endImages(
  host: Host,
  record: SessionRecord,
  outcome: 'commit' | 'abort',
): Promise<readonly Action[]> {
  const { folder, images } = imageDetails(record);
  const actions = [...(await endServers(folder))];
  if (outcome === 'abort' && record.checkpoint !== null) {
    actions.push(...(await removeBitmaps(images.map(referenceOf), [record.checkpoint])));
  }
  if (await host.exists(folder)) {
    await host.removeFolder(folder);
    actions.push({ what: 'file-removed', name: folder, text: `folder ${folder} removed` });
  }
  return actions;
}

/** By their sockets, not by their numbers: a run that died may have started one that it did not get to write down. */
export async function endServers(folder: string): Promise<readonly Action[]> {
  const actions: Action[] = [];
  for (const { argv, ...mark } of await listCommands()) {
    if (!isServerIn(argv, folder) || !(await endProcess(mark))) continue;
    const text = `qemu-nbd (process ${mark.pid}), which served from ${folder}, ended`;
    actions.push({ what: 'process-ended', name: String(mark.pid), text });
  }
  return actions;
}

/** Whether a command is a qemu-nbd with its socket in that folder. */
export function isServerIn(argv: readonly string[], folder: string): boolean {
  const socket = socketOf(argv);
  return socket?.startsWith(`${folder}/`) === true;
}

/** Where a qemu-nbd of ours listens; `undefined` for all other processes. */
export function socketOf(argv: readonly string[]): string | undefined {
  if (!/(^|\/)qemu-nbd$/.test(argv[0] ?? '')) return undefined;
  const at = argv.indexOf('--socket');
  return at < 0 ? undefined : argv[at + 1];
}

/** Removes bitmaps of ours; where an image was taken into use meanwhile, they stay, and that is said. */
export async function removeBitmaps(
  images: readonly ImageReference[],
  names: readonly string[],
): Promise<readonly Action[]> {
  const actions: Action[] = [];
  for (const image of images) {
    for (const name of names) {
      const action = await removeOne(image, name);
      if (action !== undefined) actions.push(action);
    }
  }
  return actions;
}

async function removeOne(image: ImageReference, name: string): Promise<Action | undefined> {
  // Only qcow2 has any.
  if (image.format !== 'qcow2') return undefined;
  try {
    if (!(await removeBitmap(image, name))) return undefined;
    return { what: 'bitmap-removed', name, text: `bitmap ${name} of ${image.path} removed` };
  } catch (error) {
    if (!(error instanceof HypervisorError)) throw error;
    if (error.code === 'GUEST_UNKNOWN') return undefined;
    if (error.code !== 'IMAGE_IN_USE') throw error;
    const text = `bitmap ${name} stays in ${image.path}, which is in use now; the next backup removes it`;
    return { what: 'left', name, text };
  }
}
