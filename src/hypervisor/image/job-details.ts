import { z } from 'zod';
import { HypervisorError } from '../../errors.js';
import type { SessionRecord } from '../session-record.js';

const fingerprint = z.object({
  device: z.string(),
  inode: z.string(),
  /** Of a file: both `0` for a block device. */
  size: z.string(),
  modified: z.string(),
});

const disk = z.object({
  name: z.string(),
  path: z.string(),
  isDevice: z.boolean(),
  format: z.string(),
  isEncrypted: z.boolean(),
  socket: z.string(),
  /** Of the qemu-nbd that serves it; `null`: none was started yet. */
  pid: z.int().positive().nullable(),
  /** The image as it was when that had opened it. */
  file: fingerprint.nullable(),
});

/** What a session record says in this front-end's words. */
const details = z.object({
  mode: z.literal('image'),
  /** Private folder of the sockets, one for each image. */
  folder: z.string(),
  secretFile: z.string().nullable(),
  disks: z.array(disk),
});

export type JobDetails = Readonly<z.output<typeof details>>;
export type JobDisk = Readonly<z.output<typeof disk>>;
export type Fingerprint = Readonly<z.output<typeof fingerprint>>;

/** Whether the job of a record reads images: libvirt's records may be of a job in QEMU as well. */
export function isImageJob(record: SessionRecord): boolean {
  return record.details['mode'] === 'image';
}

/** @throws HypervisorError when the record is of another version, or not of a job on images. */
export function readJobDetails(record: SessionRecord): JobDetails {
  const parsed = details.safeParse(record.details);
  if (parsed.success) return parsed.data;
  throw new HypervisorError('HYPERVISOR_FAILED', `the record of run ${record.run} is not one of images`, {
    cause: parsed.error,
    hint: 'it may be of a newer version',
  });
}
