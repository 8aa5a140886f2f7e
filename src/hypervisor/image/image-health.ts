import { stat } from 'node:fs/promises';
import { HypervisorError } from '../../errors.js';
import { isSameProcess } from '../host/process-start.js';
import type { SessionRecord } from '../session-record.js';
import { type DetailedImage, imageDetails } from './image-details.js';

const POLL_MS = 500;

/** Whether every image is still served by the process that was started for it. @throws HypervisorError JOB_LOST. */
export async function checkImages(record: SessionRecord): Promise<void> {
  const { images, servers } = imageDetails(record);
  for (const image of images) {
    const server = servers.find(({ disk }) => disk === image.disk);
    if (server === undefined || !(await isSameProcess(server))) {
      throw jobLost(record.run, `qemu-nbd of disk ${image.disk} has ended`);
    }
    await checkFile(record.run, image);
  }
}

/** QEMU's lock keeps others from writing to the image, not from putting another file in its place. */
async function checkFile(run: string, { disk, reference, inode }: DetailedImage): Promise<void> {
  const now = await stat(reference.path).catch(() => undefined);
  if (now?.ino === inode) return;
  throw jobLost(run, `the image of disk ${disk}, ${reference.path}, is another file now`);
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
