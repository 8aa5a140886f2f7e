import type { OpenChain } from './open-chain.js';
import { NO_FRAME, type SegmentTable } from './segment-table.js';

/** Number in place of a segment's where a table mentions nothing. */
export const NOWHERE = -1;

/** A range that lies in one segment of each of two tables, or in none of one of them ({@link NOWHERE}). Bytes. */
export interface AlignedPiece {
  readonly offset: number;
  readonly length: number;
  readonly left: number;
  readonly right: number;
}

/** Two maps side by side, cut where either begins something new; what neither mentions is left out. Ascending. */
export function* alignedPieces(left: SegmentTable, right: SegmentTable): Generator<AlignedPiece> {
  let [i, j, at] = [0, 0, 0];
  while (i < left.count || j < right.count) {
    const [a, b] = [reach(left, i, at), reach(right, j, at)];
    const end = Math.min(a.end, b.end);
    if (a.inside || b.inside) {
      yield { offset: at, length: end - at, left: a.inside ? i : NOWHERE, right: b.inside ? j : NOWHERE };
    }
    at = end;
    if (i < left.count && left.endAt(i) <= at) i++;
    if (j < right.count && right.endAt(j) <= at) j++;
  }
}

/** Up to where the table says the same as at byte `at`; `index`: the first segment that ends after it. */
function reach(
  table: SegmentTable,
  index: number,
  at: number,
): { readonly inside: boolean; readonly end: number } {
  if (index >= table.count) return { inside: false, end: Number.POSITIVE_INFINITY };
  const start = table.offsetAt(index);
  return at < start ? { inside: false, end: start } : { inside: true, end: table.endAt(index) };
}

/**
 * Whether two maps have the same content at `offset`, as far as the indexes tell: both zero (or nothing), or the same place of a
 * frame of the same digest. False means: unknown.
 */
export function isSamePlace(
  a: OpenChain,
  left: number,
  b: OpenChain,
  right: number,
  offset: number,
): boolean {
  const isZero = isZeroAt(a.segments, left);
  if (isZero || isZeroAt(b.segments, right)) return isZero && isZeroAt(b.segments, right);
  if (withinAt(a.segments, left, offset) !== withinAt(b.segments, right, offset)) return false;
  return digestsEqual(digestAt(a, left), digestAt(b, right));
}

function isZeroAt(segments: SegmentTable, index: number): boolean {
  return index === NOWHERE || segments.frameAt(index) === NO_FRAME;
}

function withinAt(segments: SegmentTable, index: number, offset: number): number {
  return segments.withinAt(index) + offset - segments.offsetAt(index);
}

function digestAt({ segments, archives }: OpenChain, index: number): Uint8Array {
  return archives[segments.archiveAt(index)]!.frames.digestAt(segments.frameAt(index));
}

function digestsEqual(a: Uint8Array, b: Uint8Array): boolean {
  for (let index = 0; index < a.length; index++) if (a[index] !== b[index]) return false;
  return true;
}
