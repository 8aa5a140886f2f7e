import type { BaseCheckpoint, Reason } from '../front-end.js';
import type { RunName } from '../run-name.js';
import type { QemuDisk } from './block-devices.js';
import { type DiskNames, diskNames } from './names.js';
import type { QemuBitmap } from './qemu-state.js';

export interface PlannedDisk {
  readonly disk: QemuDisk;
  readonly names: DiskNames;
  /** The committed bitmap that says what changed, of which the export gets a copy; `undefined`: all is read. */
  readonly base: QemuBitmap | undefined;
  /** Why there is none although one was asked for. */
  readonly reason: Reason | null;
  /** Whether a bitmap begins on it with the job. */
  readonly checkpoint: boolean;
}

export interface JobPlan {
  /** The committed checkpoint that the bases record since. */
  readonly since: string | null;
  readonly disks: readonly PlannedDisk[];
}

export interface JobWishes {
  readonly run: RunName;
  /** Newest first. */
  readonly bases: readonly BaseCheckpoint[];
  readonly checkpoint: boolean;
}

/** Name of the frozen copy of the base, which the export carries: as libvirt calls it. */
export function frozenBitmap(disk: string): string {
  return `backup-${disk}`;
}

/** Takes the newest base that any disk still has; a disk that has not got that one is read as a whole. */
export function planJob(disks: readonly QemuDisk[], { run, bases, checkpoint }: JobWishes): JobPlan {
  const usable = (disk: QemuDisk, name: string) => whyUnusable(disk, name) === null;
  const since = bases.find(({ name }) => disks.some(disk => usable(disk, name)))?.name;
  // Without any, the newest one's fate is the reason.
  const asked = since ?? bases[0]?.name;
  const planned = disks.map((disk, index): PlannedDisk => {
    const reason = asked === undefined ? null : whyUnusable(disk, asked);
    return {
      disk,
      names: diskNames(run, disk.name, index),
      base: since === undefined || reason !== null ? undefined : findBitmap(disk, since),
      reason,
      checkpoint: checkpoint && disk.noBitmap === null,
    };
  });
  return { since: since ?? null, disks: planned };
}

function findBitmap({ node }: QemuDisk, name: string): QemuBitmap | undefined {
  return node['dirty-bitmaps'].find(bitmap => bitmap.name === name);
}

/** A bitmap that missed a single write would lose it without an error: any doubt makes the disk be read as a whole. */
function whyUnusable(disk: QemuDisk, name: string): Reason | null {
  if (disk.noBitmap !== null) return disk.noBitmap;
  const bitmap = findBitmap(disk, name);
  const of = `bitmap ${name} of disk ${disk.name}`;
  if (bitmap === undefined) {
    const text = `disk ${disk.name} has no bitmap ${name}: it was removed, or QEMU was killed before it stored it`;
    return { code: 'bitmap-missing', text };
  }
  if (bitmap.inconsistent) {
    return { code: 'bitmap-inconsistent', text: `${of} is inconsistent: QEMU was killed while it recorded` };
  }
  if (bitmap.recording && bitmap.persistent && !bitmap.busy) return null;
  const seen = [
    bitmap.recording ? [] : ['does not record'],
    bitmap.persistent ? [] : ['is not stored in the image'],
    bitmap.busy ? ['is in use'] : [],
  ].flat();
  return { code: 'bitmap-unusable', text: `${of} ${seen.join(' and ')}` };
}
