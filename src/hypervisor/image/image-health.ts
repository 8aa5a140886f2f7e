import { HypervisorError } from '../../errors.js';
import type { SessionRecord } from '../session-record.js';
import { type DetailedImage, type ImageServer, imageDetails } from './image-details.js';
import { readImageFile } from './image-file.js';
import { readServerLog } from './nbd-process.js';
import { isServing } from './server-processes.js';

const POLL_MS = 500;

/**
 * Whether every image is still served by the process that was started for it, and is what it was then.
 * @throws HypervisorError JOB_LOST.
 */
export async function checkImages(record: SessionRecord): Promise<void> {
  const { images, servers } = imageDetails(record);
  for (const image of images) {
    const server = servers.find(({ disk }) => disk === image.disk);
    if (server === undefined || !(await isServing(server, image.socket))) {
      const said = await readServerLog(image.socket);
      throw jobLost(record.run, `qemu-nbd of disk ${image.disk} has ended${said && `: ${said}`}`);
    }
    await checkFile(record.run, image, server);
  }
}

/**
 * QEMU's lock keeps other QEMUs from writing to the image. It does not keep anybody from putting another file in its
 * place, nor programs that know nothing of it (cp, dd, a loop device) from writing.
 */
async function checkFile(run: string, image: DetailedImage, server: ImageServer): Promise<void> {
  const { disk, reference, identity } = image;
  const where = `the image of disk ${disk}, ${reference.path},`;
  const now = await readImageFile(reference.path).catch(() => undefined);
  if (now?.identity !== identity) throw jobLost(run, `${where} is not the same file any more`);
  if (now.change !== server.change) throw jobLost(run, `${where} was written to while it was read`);
}

function jobLost(run: string, why: string): HypervisorError {
  return new HypervisorError('JOB_LOST', `run ${run}: ${why}`, {
    hint: 'nothing was committed; begin again',
    retryable: true,
  });
}

/** Looks again and again until disposed. */
export function watchImages(record: SessionRecord, onTrouble: (error: Error) => void): Disposable {
  let isOver = false;
  const stop = () => {
    isOver = true;
    clearInterval(timer);
  };
  const timer = setInterval(() => {
    checkImages(record).catch((error: Error) => {
      if (isOver) return;
      stop();
      onTrouble(error);
    });
  }, POLL_MS);
  timer.unref();
  return { [Symbol.dispose]: stop };
}
