import * as z from 'zod';
import { HypervisorError } from '../../errors.js';
import type { SessionRecord } from '../session-record.js';
import type { ImageDisk } from './image-disks.js';

const reference = z.object({
  path: z.string(),
  format: z.string(),
  isDevice: z.boolean(),
  isEncrypted: z.boolean(),
  secretFile: z.string().optional(),
});

/** What a session record says in this front-end's words. */
const details = z.object({
  /** Private folder of the sockets. */
  folder: z.string(),
  images: z.array(z.object({ disk: z.string(), reference, identity: z.string(), socket: z.string() })),
  /** The qemu-nbd of each image that was started. */
  servers: z.array(
    z.object({
      disk: z.string(),
      pid: z.int().positive(),
      start: z.string(),
      /** The image's file when it had been opened. */
      change: z.string().nullable(),
    }),
  ),
});

export type ImageDetails = Readonly<z.output<typeof details>>;
export type DetailedImage = ImageDetails['images'][number];
export type ImageServer = ImageDetails['servers'][number];

/** @throws HypervisorError when the record is of another version, or not of images. */
export function imageDetails(record: SessionRecord): ImageDetails {
  const parsed = details.safeParse(record.details);
  if (parsed.success) return parsed.data;
  throw new HypervisorError('HYPERVISOR_FAILED', `the record of run ${record.run} is not one of images`, {
    cause: parsed.error,
    hint: 'it may be of a newer version',
  });
}

export function detailImage({ name, reference: image, identity }: ImageDisk, socket: string): DetailedImage {
  const { secretFile, ...rest } = image;
  return {
    disk: name,
    identity,
    socket,
    reference: { ...rest, ...(secretFile !== undefined && { secretFile }) },
  };
}

/** As the programs take it. */
export function referenceOf({ reference: { secretFile, ...rest } }: DetailedImage) {
  return { ...rest, secretFile };
}
