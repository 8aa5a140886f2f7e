import { ChainError } from '../errors.js';
import type { ChangeMethod, DiskEntry, Manifest, PointLevel, Reason } from './manifest.js';

/** A disk that is about to be backed up. */
export interface PlannedDisk {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Where it is read from, without credentials; `null` says nothing. */
  readonly source?: string | null;
  /** Whether the server offers the bitmap with its changes. */
  readonly bitmap: 'granted' | 'missing' | 'notRequested';
  /** The bitmap that was asked for; for messages. */
  readonly bitmapName?: string;
  /** Why there is no bitmap, where somebody knows it better than the server. */
  readonly noBitmap?: Reason;
  /** Whether another size than in the base means that the bitmap is not to be believed. */
  readonly distrustIfResized?: boolean;
  /** Why the base's chain of the disk cannot be read, where somebody tried: it cannot be compared with. */
  readonly unreadableBase?: Reason;
}

export interface DiskPlan {
  readonly name: string;
  readonly level: PointLevel;
  /** How a delta learns what changed; `null` when everything is stored. */
  readonly method: ChangeMethod | null;
  /** Why the bitmap does not do, or the disk's level is not the point's; otherwise `null`. */
  readonly reason: Reason | null;
}

type Delta = 'incremental' | 'differential';

/**
 * How every disk of a point that builds on `base` is read: by its bitmap, or compared with the base where something
 * speaks against the bitmap, or in full where there is nothing to compare with. A disk that grew stays with its
 * bitmap, unless it says otherwise: what it grew by counts as changed.
 * @param seen the base, and every point since: a disk that shrank in between and grew again lost what it held there,
 *   and no bitmap has to tell.
 * @param mayFallBack whether a disk without a bitmap is compared; one whose `noBitmap` says why always is.
 * @throws ChainError NBD_CONTEXT_MISSING when it may not.
 */
export function planDisks(
  disks: readonly PlannedDisk[],
  seen: readonly [base: Manifest, ...later: Manifest[]],
  level: Delta,
  mayFallBack: boolean,
): DiskPlan[] {
  return disks.map(disk => {
    const reason = reasonByPoints(disk, seen) ?? reasonByBitmap(disk, level, mayFallBack);
    if (reason !== null) return planRescannedDisk(disk, seen[0], level, reason);
    return { name: disk.name, level, method: 'bitmap', reason };
  });
}

/** A disk that is compared with `base`, because of `reason`; in full where the base has nothing to compare with. */
export function planRescannedDisk(disk: PlannedDisk, base: Manifest, level: Delta, reason: Reason): DiskPlan {
  const { name } = disk;
  const entry = base.disks.find(each => each.name === name);
  const missing = reasonByEntry(name, base, entry) ?? disk.unreadableBase ?? null;
  if (missing !== null) return { name, level: 'full', method: null, reason: missing };
  return { name, level, method: 'rescan', reason };
}

function reasonByPoints(
  disk: PlannedDisk,
  [base, ...later]: readonly [Manifest, ...Manifest[]],
): Reason | null {
  const before = base.disks.find(entry => entry.name === disk.name);
  const reason = reasonByEntry(disk.name, base, before);
  if (reason !== null || before === undefined) return reason;
  const swapped = reasonSwapped(disk, before, base);
  if (swapped !== null) return swapped;
  if (disk.size < before.size) return shrunk(disk, `${before.size} in point ${base.id}`);
  if (disk.size > before.size && disk.distrustIfResized) return grown(disk, before.size, base.id);
  // The better reason, where there is one.
  if (disk.noBitmap !== undefined) return null;
  for (const point of later) {
    const since = reasonSince(disk.name, before.size, point);
    if (since !== null) return since;
  }
  return null;
}

function reasonByEntry(name: string, point: Manifest, entry: DiskEntry | undefined): Reason | null {
  if (entry === undefined) return { code: 'disk-new', text: `point ${point.id} has no disk ${name}` };
  if (entry.status === 'stored') return null;
  return { code: 'disk-failed-before', text: `disk ${name} failed in point ${point.id}` };
}

/** Bitmaps have one name on all disks: that of an image which was another disk's then would be taken for this one's. */
function reasonSwapped({ name, source }: PlannedDisk, before: DiskEntry, base: Manifest): Reason | null {
  if (source === undefined || source === null || source === before.source) return null;
  const other = base.disks.find(entry => entry.source === source);
  if (other === undefined) return null;
  const text = `disk ${name} is read from ${source}, which was disk ${other.name} in point ${base.id}`;
  return { code: 'disk-swapped', text };
}

/** What a point after the base says against building on the base, where the disk had `size` bytes. */
function reasonSince(name: string, size: number, point: Manifest): Reason | null {
  const entry = point.disks.find(disk => disk.name === name);
  if (entry !== undefined && entry.size < size) {
    return {
      code: 'disk-shrunk',
      text: `disk ${name} had ${entry.size} bytes in point ${point.id}, ${size} in the full`,
    };
  }
  // A copy may have been taken of some disks only, and stands outside of the chain.
  if (point.level === 'copy') return null;
  const reason = reasonByEntry(name, point, entry);
  if (reason !== null) return reason;
  const how = entry?.level === 'full' ? 'began anew with a full' : 'was compared as a whole';
  // Whatever spoke against the bitmap then speaks against it now: it began before.
  if (entry?.level !== 'full' && entry?.method !== 'rescan') return null;
  return { code: 'disk-restarted', text: `disk ${name} ${how} in point ${point.id}` };
}

function shrunk({ name, size }: { readonly name: string; readonly size: number }, before: string): Reason {
  return { code: 'disk-shrunk', text: `disk ${name} has ${size} bytes, ${before}` };
}

/** It may have shrunk before it grew: a bitmap loses its bits beyond the disk's end, and has clean ones when it grows. */
function grown({ name, size }: PlannedDisk, before: number, point: string): Reason {
  const text = `disk ${name} was resized: it has ${size} bytes, ${before} in point ${point}`;
  return { code: 'disk-resized', text };
}

function reasonByBitmap(disk: PlannedDisk, level: string, mayFallBack: boolean): Reason | null {
  if (disk.bitmap === 'granted') return null;
  const asked = disk.bitmapName === undefined ? '' : ` "${disk.bitmapName}"`;
  const text = `the server offers no dirty bitmap${asked} for disk ${disk.name}`;
  if (disk.noBitmap !== undefined) return disk.noBitmap;
  if (mayFallBack) return { code: 'bitmap-missing', text };
  const article = level === 'incremental' ? 'an' : 'a';
  throw new ChainError('NBD_CONTEXT_MISSING', `cannot take ${article} ${level}: ${text}`, {
    hint: 'See which bitmaps the export has with `nbdelta info URI`, and name one with --bitmap; or compare everything with --rescan.',
    fields: { disk: disk.name },
  });
}
