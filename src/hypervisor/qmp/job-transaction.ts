import { frozenBitmap, type PlannedDisk } from './plan-job.js';
import type { QmpArguments } from './qmp-codec.js';

/**
 * The actions that begin the jobs and the bitmaps of all disks in one instant.
 *
 * The jobs come first: each stops its disk's requests until the transaction ends, so that every bitmap begins, and every
 * base is copied, at the very point in time that is backed up. A request that finished in between would be in the
 * point's content and not in its bitmap.
 *
 * `on-cbw-error=break-snapshot`, which newer QEMUs offer here, is left alone: the export reads through the scratch
 * image's backing file, so that after a failed copy it would give the guest's *new* data, without an error. As it is,
 * the guest's write fails (it is paused, or gets EIO), and what is read stays right.
 */
export function jobActions(disks: readonly PlannedDisk[], checkpoint: string): readonly QmpArguments[] {
  return [...disks.map(backupAction), ...disks.flatMap(disk => bitmapActions(disk, checkpoint))];
}

function backupAction({ disk, names }: PlannedDisk): QmpArguments {
  return {
    type: 'blockdev-backup',
    data: {
      'job-id': names.job,
      device: disk.node['node-name'],
      target: names.scratchNode,
      sync: 'none',
      'filter-node-name': names.filterNode,
      // A job that ended must stay to be seen: one that vanished says nothing of why.
      'auto-dismiss': false,
    },
  };
}

function bitmapActions({ disk, names, base, ...planned }: PlannedDisk, checkpoint: string): QmpArguments[] {
  const node = disk.node['node-name'];
  const begin = {
    type: 'block-dirty-bitmap-add',
    data: { node, name: checkpoint, persistent: true },
  };
  const copy = base === undefined ? [] : copyActions(node, names.scratchNode, frozenBitmap(disk.name), base);
  return planned.checkpoint ? [begin, ...copy] : copy;
}

/** QEMU refuses to export a bitmap that records: a copy that does not, on the scratch image, is exported. */
function copyActions(
  node: string,
  scratch: string,
  target: string,
  base: NonNullable<PlannedDisk['base']>,
): QmpArguments[] {
  const { name = '', granularity } = base;
  return [
    { type: 'block-dirty-bitmap-add', data: { node: scratch, name: target, granularity, disabled: true } },
    { type: 'block-dirty-bitmap-merge', data: { node: scratch, target, bitmaps: [{ node, name }] } },
  ];
}
