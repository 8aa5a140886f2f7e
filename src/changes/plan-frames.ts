import { ExtentKind, type ExtentList, type Range } from '../extents/extent-list.js';

/** A piece of a frame: bytes to read (`zero` false) or a range known to be zero, which carries no bytes. */
export interface PlannedExtent extends Range {
  readonly zero: boolean;
}

/** What goes into one frame, in ascending order on the disk. Bytes. */
export interface FramePlan {
  readonly extents: readonly PlannedExtent[];
  /** Sum of the lengths of the extents that are read; 0 when all are zero. */
  readonly rawLength: number;
}

/** The pieces of a frame that are read. */
export function dataPieces(plan: FramePlan): Range[] {
  return plan.extents.filter(extent => !extent.zero);
}

/** Bounds what one frame can make others keep in memory: a disk may have millions of tiny extents. */
const MAX_EXTENTS = 4096;

/**
 * Cuts a change map into frames of at most `frameSize` raw bytes. Small extents share a frame; large ones are
 * cut at multiples of `frameSize` on the disk, so that the same content gives the same frames next time.
 * Lazy: a plan exists only while somebody works on it.
 */
export function* planFrames(changes: ExtentList, frameSize: number): Generator<FramePlan, void, undefined> {
  let extents: PlannedExtent[] = [];
  let rawLength = 0;
  const take = () => {
    const plan = { extents, rawLength };
    extents = [];
    rawLength = 0;
    return plan;
  };
  for (let index = 0; index < changes.count; index++) {
    const zero = changes.kindAt(index) === ExtentKind.zero;
    const end = changes.offsetAt(index) + changes.lengthAt(index);
    for (let offset = changes.offsetAt(index); offset < end; ) {
      const boundary = zero ? end : Math.min(end, offset - (offset % frameSize) + frameSize);
      const length = boundary - offset;
      const full = extents.length >= MAX_EXTENTS || (!zero && rawLength + length > frameSize);
      if (full && extents.length > 0) yield take();
      extents.push({ offset, length, zero });
      if (!zero) rawLength += length;
      offset = boundary;
    }
  }
  if (extents.length > 0) yield take();
}
