import { ExtentKind, ExtentList } from '../extents/extent-list.js';
import { alignedPieces, isSamePlace, NOWHERE } from './aligned-pieces.js';
import type { OpenChain } from './open-chain.js';

/**
 * What may differ between two points of a disk, from the indexes alone: never too little, too much where the same bytes were
 * stored again in another frame. Both may be of any chain. The kinds are those of the newer point; what it grew by counts
 * as changed. Extents lie inside the newer one's size; gaps are the same in both.
 */
export function pointDifference(older: OpenChain, newer: OpenChain): ExtentList {
  const changed = new ExtentList();
  const common = Math.min(older.size, newer.size);
  for (const { offset, length, left, right } of alignedPieces(older.segments, newer.segments)) {
    if (offset >= common) break;
    if (isSamePlace(older, left, newer, right, offset)) continue;
    changed.append(offset, Math.min(length, common - offset), kindOf(newer, right));
  }
  appendRest(changed, newer, common);
  return changed;
}

/** Everything from `start` to the end of the disk. */
function appendRest(changed: ExtentList, chain: OpenChain, start: number): void {
  const { segments, size } = chain;
  let at = start;
  for (let index = segments.find(start); index < segments.count; index++) {
    const from = Math.max(start, segments.offsetAt(index));
    if (from > at) changed.append(at, from - at, ExtentKind.zero);
    changed.append(from, segments.endAt(index) - from, kindOf(chain, index));
    at = segments.endAt(index);
  }
  if (size > at) changed.append(at, size - at, ExtentKind.zero);
}

function kindOf({ segments }: OpenChain, index: number): ExtentKind {
  return index === NOWHERE || segments.isZeroAt(index) ? ExtentKind.zero : ExtentKind.data;
}
