import { ChainError } from '../errors.js';
import type { Manifest, PointLevel, Reason } from './manifest.js';

/** A disk that is about to be backed up. */
export interface PlannedDisk {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Whether the server offers the bitmap with its changes. */
  readonly bitmap: 'granted' | 'missing' | 'notRequested';
  /** The bitmap that was asked for; for messages. */
  readonly bitmapName?: string;
}

export interface DiskPlan {
  readonly name: string;
  readonly level: PointLevel;
  /** Why the disk's level is not the point's; otherwise `null`. */
  readonly reason: Reason | null;
}

/**
 * The level of every disk of a point that builds on `parent`. A disk that the parent cannot serve as a base
 * for gets a full of its own. One that grew stays: what it grew by counts as changed.
 * @param mayFallBack whether a disk without a bitmap gets a full.
 * @throws ChainError NBD_CONTEXT_MISSING when it does not.
 */
export function planDisks(
  disks: readonly PlannedDisk[],
  parent: Manifest,
  level: 'incremental' | 'differential',
  mayFallBack: boolean,
): DiskPlan[] {
  return disks.map(disk => {
    const reason = reasonByParent(disk, parent) ?? reasonByBitmap(disk, level, mayFallBack);
    return { name: disk.name, level: reason === null ? level : 'full', reason };
  });
}

function reasonByParent(disk: PlannedDisk, parent: Manifest): Reason | null {
  const before = parent.disks.find(entry => entry.name === disk.name);
  if (before === undefined) return { code: 'disk-new', text: `point ${parent.id} has no disk ${disk.name}` };
  if (before.status === 'failed') {
    return { code: 'disk-failed-before', text: `disk ${disk.name} failed in point ${parent.id}` };
  }
  if (disk.size >= before.size) return null;
  const text = `disk ${disk.name} has ${disk.size} bytes, ${before.size} in point ${parent.id}`;
  return { code: 'disk-shrunk', text };
}

function reasonByBitmap(disk: PlannedDisk, level: string, mayFallBack: boolean): Reason | null {
  if (disk.bitmap === 'granted') return null;
  const asked = disk.bitmapName === undefined ? '' : ` "${disk.bitmapName}"`;
  const text = `the server offers no dirty bitmap${asked} for disk ${disk.name}`;
  if (mayFallBack) return { code: 'bitmap-missing', text };
  const article = level === 'incremental' ? 'an' : 'a';
  throw new ChainError('NBD_CONTEXT_MISSING', `cannot take ${article} ${level}: ${text}`, {
    hint: 'See which bitmaps the export has with `nbdelta info URI`, and name one with --bitmap; or take a full.',
    fields: { disk: disk.name },
  });
}
