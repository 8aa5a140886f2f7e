import { rm } from 'node:fs/promises';
import { runOk } from '../support/processes.js';

/** Puts ext4 into a qcow2 image, on the host, because the guest's busybox makes no journal. */
export async function formatExt4(image: string, size: number): Promise<void> {
  const raw = `${image}.raw`;
  await runOk('truncate', ['-s', String(size), raw]);
  await runOk('mke2fs', ['-q', '-t', 'ext4', raw]);
  await runOk('qemu-img', ['convert', '-O', 'qcow2', raw, image]);
  await rm(raw);
}
