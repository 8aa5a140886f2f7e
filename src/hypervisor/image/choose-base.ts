import type { BaseCheckpoint, Reason } from '../front-end.js';
import type { ImageBitmap } from './image-info.js';

/** A disk with what its image has when nobody writes to it. */
export interface BaseCandidate {
  readonly name: string;
  readonly noBitmap: Reason | null;
  readonly bitmaps: readonly ImageBitmap[];
}

export interface ChosenBase {
  /** The committed checkpoint that the bitmaps record since; `null`: everything is read. */
  readonly since: string | null;
  /** For each disk its bitmap, or why it has none although one was asked for. */
  readonly disks: readonly { readonly bitmap: string | null; readonly reason: Reason | null }[];
}

/** Takes the newest base that any disk still has; a disk that has not got that one is read as a whole. */
export function chooseBase(disks: readonly BaseCandidate[], bases: readonly BaseCheckpoint[]): ChosenBase {
  const since = bases.find(({ name }) => disks.some(disk => whyUnusable(disk, name) === null))?.name ?? null;
  // Without any, the newest one's fate is the reason.
  const asked = since ?? bases[0]?.name;
  const chosen = disks.map(disk => {
    const reason = asked === undefined ? null : whyUnusable(disk, asked);
    return { bitmap: reason === null ? since : null, reason };
  });
  return { since, disks: chosen };
}

/** A bitmap that missed a single write would lose it without an error: any doubt makes the disk be read as a whole. */
export function whyUnusable({ name: disk, noBitmap, bitmaps }: BaseCandidate, name: string): Reason | null {
  if (noBitmap !== null) return noBitmap;
  // Only in the image itself: qemu-nbd would also take one of a backing file, which knows nothing of later writes.
  const bitmap = bitmaps.find(candidate => candidate.name === name);
  if (bitmap === undefined) {
    return { code: 'bitmap-missing', text: `disk ${disk} has no bitmap ${name}: it was removed, or never stored` };
  }
  const of = `bitmap ${name} of disk ${disk}`;
  if (bitmap.flags.includes('in-use')) {
    return { code: 'bitmap-inconsistent', text: `${of} is inconsistent: QEMU was killed while it recorded` };
  }
  if (bitmap.flags.includes('auto')) return null;
  return { code: 'bitmap-unusable', text: `${of} does not record` };
}
