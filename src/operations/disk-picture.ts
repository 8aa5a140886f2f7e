import { type Extent, ExtentKind } from '../extents/extent-list.js';

/** What one cell of a picture of a disk holds: the shares of its bytes, each from 0 to 1. */
export interface PictureCell {
  readonly data: number;
  readonly zero: number;
}

/**
 * Paints where on a disk the extents lie: `count` cells of equal size, in the order of the disk.
 * @param size bytes of the disk.
 */
export function paintDisk(extents: Iterable<Extent>, size: number, count: number): PictureCell[] {
  const cells = Array.from({ length: size === 0 ? 0 : count }, () => ({ data: 0, zero: 0 }));
  const width = size / count;
  for (const { offset, length, kind } of extents) {
    if (kind === ExtentKind.unchanged) continue;
    const share = kind === ExtentKind.data ? 'data' : 'zero';
    const end = offset + length;
    for (let index = Math.floor(offset / width); index < count && index * width < end; index++) {
      const covered = Math.min(end, (index + 1) * width) - Math.max(offset, index * width);
      cells[index]![share] += Math.max(0, covered) / width;
    }
  }
  return cells;
}
