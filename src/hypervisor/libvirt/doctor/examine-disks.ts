import type { Finding } from '../../front-end.js';
import { ioThreadError, outlivesReaders } from '../../io-threads.js';
import type { DomainDisk } from '../domain-xml.js';
import { noBitmapReason } from '../plan-disks.js';
import type { DiskDetails } from './domain-details.js';
import type { DomainView } from './domain-view.js';

/** Each disk: whether it can keep a bitmap, and what is worth a remark. */
export async function* examineDisks(view: DomainView): AsyncGenerator<Finding> {
  for (const disk of view.disks) {
    yield judgeDisk(disk, view.sizes.get(disk.target));
    const details = view.details.disks.get(disk.target);
    if (details !== undefined) yield* remarks(disk, details);
    if (disk.inIoThread) yield await examineIoThread(view, disk.target);
    if (view.state.state !== 'off') yield* await examineBlockJob(view, disk.target);
  }
  for (const { name, reason } of view.skipped) {
    yield { id: 'disk', status: 'info', text: `not backed up: ${reason.text}`, disk: name };
  }
}

function judgeDisk(disk: DomainDisk, size: number | undefined): Finding {
  const { target, format, source = 'no source' } = disk;
  if (size === undefined) {
    const text = `libvirt cannot tell the size of ${source}`;
    const fix = `see \`virsh domblkinfo\` of ${target}: is the image there, and its server reachable?`;
    return { id: 'disk', status: 'problem', text, fix, disk: target };
  }
  const text = `${format}, ${size} bytes, ${source}`;
  const reason = noBitmapReason(disk);
  if (reason === null)
    return { id: 'disk', status: 'ok', text: `${text}; it can keep a bitmap`, disk: target };
  return {
    ...{ id: 'disk', status: 'warning', disk: target },
    text: `${text}; it keeps no bitmap, and is read whole each time`,
    fix: bitmapFix(disk),
  };
}

function bitmapFix({ path, format, isTransient }: DomainDisk): string {
  if (isTransient) return 'remove <transient/> from its definition, if what it records should stay';
  if (path === undefined) return 'move it into a qcow2 image, if incrementals matter';
  const image = `${path.replace(/\.(raw|img)$/, '')}.qcow2`;
  return `shut the guest down, \`qemu-img convert -f ${format} -O qcow2 ${path} ${image}\`, and have the domain use that`;
}

function* remarks({ target, isReadonly, isShareable }: DomainDisk, details: DiskDetails): Generator<Finding> {
  const disk = target;
  const { backingImages, errorPolicy } = details;
  if (isReadonly)
    yield { id: 'disk-readonly', status: 'info', text: 'read-only: nothing of it changes', disk };
  if (isShareable) yield { ...shareable, disk };
  if (backingImages > 0) {
    const text = `it stands on ${backingImages} backing image${backingImages === 1 ? '' : 's'}; a full has the content of all`;
    yield { id: 'disk-backing', status: 'info', text, disk };
  }
  if (errorPolicy === 'report' || errorPolicy === 'ignore') yield { ...onError(errorPolicy), disk };
}

async function examineIoThread({ connection }: DomainView, disk: string): Promise<Finding> {
  const { qemu } = await connection.versions();
  if (qemu === undefined || outlivesReaders(qemu)) {
    return {
      id: 'disk-io-thread',
      status: 'ok',
      text: 'an I/O thread serves it, which this QEMU outlives',
      disk,
    };
  }
  const { message, hint } = ioThreadError([disk], qemu);
  return {
    id: 'disk-io-thread',
    status: 'problem',
    text: message,
    ...(hint !== undefined && { fix: hint }),
    disk,
  };
}

const shareable: Finding = {
  id: 'disk-shareable',
  status: 'warning',
  text: 'shareable: what another guest or host writes to it is in no bitmap, and in no one point in time',
  fix: 'back it up while only this guest uses it, with --level full; or leave it out with --exclude',
};

function onError(policy: string): Finding {
  const what = policy === 'ignore' ? 'loses writes without a word' : 'gets I/O errors';
  return {
    ...{ id: 'disk-error-policy', status: 'warning' },
    text: `error_policy='${policy}': if the scratch folder ran full, the guest ${what} instead of being paused`,
    fix: "use error_policy='enospace' or 'stop', and leave enough space for scratch files",
  };
}

/** A block job (copy, commit, pull) keeps a backup of that disk from beginning. */
async function examineBlockJob(
  { connection, domain }: DomainView,
  disk: string,
): Promise<readonly Finding[]> {
  const options = { path: disk, info: true, raw: true } as const;
  const said = (await connection.virsh.domain(domain.uuid, 'blockjob', { options })).trim();
  const type = /^\s*type=(.*)$/m.exec(said)?.[1];
  // The backup's own is told of as the domain's job.
  if (type === undefined || /backup/i.test(type)) return [];
  const text = `a block job is running on it: ${type}`;
  return [
    {
      id: 'block-job',
      status: 'problem',
      text,
      fix: `wait for it: \`virsh blockjob ${domain.name} ${disk}\``,
      disk,
    },
  ];
}
