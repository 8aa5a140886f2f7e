import * as z from 'zod';
import { HypervisorError } from '../../errors.js';
import type { Action, BeginRequest, SweepRequest } from '../front-end.js';
import { ImageFrontEnd } from '../image/image-front-end.js';
import type { SessionRecord } from '../session-record.js';
import type { Domain, DomainDisk } from './domain-xml.js';
import type { DescribedGuest } from './guest-description.js';
import type { LibvirtConnection } from './libvirt-connection.js';
import { selectDisks } from './plan-disks.js';

/** A record whose domain was off: a session of its images, in that front-end's words. */
const details = z.object({
  mode: z.literal('images'),
  images: z.array(z.object({ name: z.string(), path: z.string(), format: z.string() })).min(1),
  session: z.record(z.string(), z.unknown()),
});

type OffDetails = z.output<typeof details>;
type Image = OffDetails['images'][number];

/** Whether the domain was off when the record's session began. */
export function isOffRecord(record: SessionRecord): boolean {
  return record.details['mode'] === 'images';
}

/**
 * Serves the images of a domain that is off. libvirt takes no checkpoint of it, and none of ours is added behind its
 * back: the older one stays the base of the next incremental, which then reads a little more than it must.
 */
export async function beginOff(
  connection: LibvirtConnection,
  { domain, disks }: DescribedGuest,
  source: string,
  request: BeginRequest,
): Promise<SessionRecord> {
  if (!connection.host.isLocal) throw remoteIsOff(domain.name, connection.host.name);
  const images = disks.map(imageOf);
  const names = new Map(disks.map(disk => [disk.target, disk]));
  const outer = (inner: SessionRecord): SessionRecord => ({
    ...inner,
    ...{ kind: 'libvirt', sources: [source], connect: connection.options.connect ?? null },
    guest: { name: domain.name, id: domain.uuid },
    // As the running domain's points name it, or they would be other disks.
    disks: inner.disks.map(disk => ({ ...disk, source: names.get(disk.name)?.source ?? disk.source })),
    details: { mode: 'images', images, session: inner.details } satisfies OffDetails,
  });
  await using frontEnd = ImageFrontEnd.forImages(images, connection.options);
  const begun = await frontEnd.begin({
    ...request,
    // A guest that is off is quiet: nothing is to be frozen.
    ...{ selection: {}, checkpoint: false, quiesce: undefined },
    journal: inner => request.journal(outer(inner)),
  });
  return outer(begun);
}

/** The images' front-end, and the record as it wrote it. */
export function openOffRecord(connection: Pick<LibvirtConnection, 'options'>, record: SessionRecord) {
  const parsed = details.safeParse(record.details);
  if (!parsed.success) {
    throw new HypervisorError('HYPERVISOR_FAILED', `the record of run ${record.run} is not one of images`, {
      cause: parsed.error,
      hint: 'it may be of a newer version',
    });
  }
  const { images, session } = parsed.data;
  const inner: SessionRecord = { ...record, kind: 'image', details: session };
  return { frontEnd: ImageFrontEnd.forImages(images, connection.options), inner };
}

/** Ends servers of dead runs at the images of a domain that is off. Bitmaps are the checkpoints' affair. */
export async function sweepOff(
  connection: LibvirtConnection,
  domain: Domain,
  request: SweepRequest,
): Promise<readonly Action[]> {
  const { disks } = selectDisks(domain.disks, {});
  const images = disks.filter(disk => disk.path !== undefined).map(imageOf);
  if (!connection.host.isLocal || images.length === 0) return [];
  await using frontEnd = ImageFrontEnd.forImages(images, connection.options);
  const bitmaps = await frontEnd.listCheckpoints();
  const keep = bitmaps.map(name => ({ name, definition: undefined }));
  return await frontEnd.sweep({ ...request, keep });
}

function imageOf({ target, path, format, encryption }: DomainDisk): Image {
  // libvirt calls a bare LUKS container raw, with an encryption.
  const isLuks = format === 'raw' && encryption !== undefined;
  if (path !== undefined) return { name: target, path, format: isLuks ? 'luks' : format };
  throw new HypervisorError(
    'GUEST_STATE',
    `disk ${target} is no file and no device: it is read while its guest runs`,
    {
      hint: `start the guest, or leave the disk out with --exclude ${target}`,
    },
  );
}

function remoteIsOff(name: string, host: string): HypervisorError {
  return new HypervisorError(
    'GUEST_STATE',
    `domain ${name} on ${host} is off: its images are read only there`,
    {
      hint: 'start it, or run nbdelta on that host',
    },
  );
}
