import { NbdeltaError } from '../../errors.js';
import type { StatusExtent } from './block-source.js';

/**
 * A source's extents as a reply may have them: no empty ones, nothing behind `length` bytes, at most
 * `maxExtents`, status in 32 bits.
 * @throws NbdeltaError (INTERNAL) on a length that is not a positive integer: every range behind it would be
 * somewhere else than the source meant.
 */
export function clipExtents(
  extents: readonly StatusExtent[],
  length: number,
  maxExtents: number,
): readonly StatusExtent[] {
  const clipped: StatusExtent[] = [];
  let rest = length;
  for (const extent of extents) {
    if (rest === 0 || clipped.length === maxExtents) break;
    if (!Number.isSafeInteger(extent.length) || extent.length <= 0) {
      throw new NbdeltaError('INTERNAL', `extent ${clipped.length} has length ${extent.length}`);
    }
    const taken = Math.min(extent.length, rest);
    clipped.push({ length: taken, status: extent.status >>> 0 });
    rest -= taken;
  }
  return clipped;
}
