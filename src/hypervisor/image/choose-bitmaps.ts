import type { BaseCheckpoint, Reason } from '../front-end.js';
import { type ImageDisk, noBitmap } from './image-disks.js';

/** What each disk is read since. */
export interface ChosenBitmaps {
  /** The base; `undefined`: everything is read. */
  readonly since: string | undefined;
  readonly disks: readonly { readonly bitmap: string | null; readonly reason: Reason | null }[];
}

/** The first base that a disk still has a bitmap of that can be believed; disks that lack it say why. */
export function chooseBitmaps(disks: readonly ImageDisk[], bases: readonly BaseCheckpoint[]): ChosenBitmaps {
  const base = bases.find(({ name }) => disks.some(disk => problemWith(disk, name) === null)) ?? bases[0];
  if (base === undefined)
    return {
      since: undefined,
      disks: disks.map(({ name, info }) => ({ bitmap: null, reason: noBitmap(name, info) })),
    };
  const chosen = disks.map(disk => {
    const reason = problemWith(disk, base.name);
    return { bitmap: reason === null ? base.name : null, reason };
  });
  return { since: chosen.some(({ bitmap }) => bitmap !== null) ? base.name : undefined, disks: chosen };
}

function problemWith({ name, info }: ImageDisk, bitmap: string): Reason | null {
  const none = noBitmap(name, info);
  if (none !== null) return none;
  const found = info.bitmaps.find(each => each.name === bitmap);
  if (found === undefined) {
    return { code: 'bitmap-missing', text: `disk ${name} has no bitmap of checkpoint ${bitmap}` };
  }
  if (found.isInconsistent) {
    const text = `disk ${name}: the bitmap of checkpoint ${bitmap} is inconsistent: what had the image open was killed`;
    return { code: 'bitmap-inconsistent', text };
  }
  if (found.isRecording) return null;
  return {
    code: 'bitmap-disabled',
    text: `disk ${name}: the bitmap of checkpoint ${bitmap} was disabled by somebody`,
  };
}
