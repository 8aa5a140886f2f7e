import { HypervisorError } from '../../errors.js';
import { formatNbdUri } from '../../nbd/protocol/uri.js';
import type { Action, BeginRequest } from '../front-end.js';
import type { FrontEndOptions } from '../front-end-options.js';
import type { Host } from '../host/host.js';
import { makeSocketFolder, planSocketFolder, socketPath } from '../host/socket-folder.js';
import type { SessionRecord } from '../session-record.js';
import { chooseBitmaps } from './choose-bitmaps.js';
import { endImages } from './end-images.js';
import { detailImage, type ImageDetails, imageDetails, referenceOf } from './image-details.js';
import { describeGuestDisk, type ImageDisk, noBitmap } from './image-disks.js';
import { readImageFile } from './image-file.js';
import { startNbdProcess } from './nbd-process.js';
import { addBitmap } from './qemu-image.js';

export interface ImageSession {
  readonly host: Host;
  readonly options: FrontEndOptions;
  readonly sources: readonly string[];
  readonly guest: SessionRecord['guest'];
  readonly disks: readonly ImageDisk[];
  readonly request: BeginRequest;
}

/**
 * Serves the images. The new bitmaps are added before qemu-nbd opens them: they cannot be while an image is open,
 * and afterwards a guest could have written in between. A guest that starts in between only makes them hold more.
 */
export async function beginImages(session: ImageSession): Promise<SessionRecord> {
  const planned = await planRecord(session);
  await session.request.journal(planned);
  try {
    await makeSocketFolder(session.host, planned.run, { base: session.options.socketDir });
    await addBitmaps(session, planned);
    const running = await serve(session, planned);
    await session.request.journal(running);
    return running;
  } catch (error) {
    throw await withLeftovers(error, () => endImages(session.host, planned, 'abort'));
  }
}

/** Cleans up after an error; what could not be removed becomes its cause: it must not hide what went wrong first. */
async function withLeftovers(error: unknown, end: () => Promise<readonly Action[]>): Promise<unknown> {
  const second = await end().then(leftBehind, (failure: unknown) => failure);
  if (error instanceof Error && second !== undefined) error.cause ??= second;
  return error;
}

function leftBehind(actions: readonly Action[]): Error | undefined {
  const left = actions.filter(({ what }) => what === 'left').map(({ text }) => text);
  return left.length === 0 ? undefined : new HypervisorError('HYPERVISOR_FAILED', left.join('; '));
}

async function planRecord({
  host,
  options,
  sources,
  guest,
  disks,
  request,
}: ImageSession): Promise<SessionRecord> {
  const { run, bases, checkpoint } = request;
  const chosen = chooseBitmaps(disks, bases);
  const folder = await planSocketFolder(host, run, { base: options.socketDir });
  const images = disks.map((disk, index) => detailImage(disk, socketPath(folder.path, String(index))));
  const details: ImageDetails = { folder: folder.path, images, servers: [] };
  const keeps = disks.some(disk => noBitmap(disk.name, disk.info) === null);
  return {
    ...{ version: 1, run, kind: 'image', sources: [...sources], connect: null, guest },
    ...{ startedAt: new Date().toISOString(), state: 'planned', warnings: [], details },
    checkpoint: checkpoint && keeps ? run : null,
    since: chosen.since ?? null,
    disks: disks.map((disk, index) => {
      const { name, size, format, source } = describeGuestDisk(disk);
      const uri = formatNbdUri({ kind: 'unix', path: images[index]!.socket }, name);
      return { name, size, format, source, uri, ...chosen.disks[index]! };
    }),
  };
}

async function addBitmaps({ disks, request }: ImageSession, { checkpoint }: SessionRecord): Promise<void> {
  if (checkpoint === null) return;
  for (const { name, info, reference } of disks) {
    request.signal?.throwIfAborted();
    if (noBitmap(name, info) === null) await addBitmap(reference, checkpoint);
  }
}

async function serve({ request }: ImageSession, planned: SessionRecord): Promise<SessionRecord> {
  const details = imageDetails(planned);
  let record: SessionRecord = planned;
  for (const [index, image] of details.images.entries()) {
    const mark = await startNbdProcess({
      image: referenceOf(image),
      exportName: image.disk,
      socket: image.socket,
      bitmap: planned.disks[index]!.bitmap,
      lasting: request.lasting,
      signal: request.signal,
    });
    const { change } = await readImageFile(image.reference.path);
    const servers = [...imageDetails(record).servers, { disk: image.disk, ...mark, change }];
    record = { ...record, details: { ...details, servers } };
    await request.journal(record);
  }
  return { ...record, state: 'running' };
}
