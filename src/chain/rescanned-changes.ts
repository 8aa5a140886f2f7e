import { ExtentKind, ExtentList } from '../extents/extent-list.js';
import type { ChangedUnits } from './changed-units.js';
import type { OpenChain } from './open-chain.js';

/**
 * What an archive on top of a chain must hold so that both together read as the disk does now:
 *
 *   chain      data │ data │ data │ zero │ zero │ (the disk ended here)
 *   live       data │ data │ zero │ data │ zero │ data │ zero
 *   marked       —  │  yes │      │  yes │      │  yes │
 *   changes      —  │ data │ zero │ data │   —  │ data │ zero
 *
 * Everything beyond the chain's end is stored, zeroes included: an archive before the chain's newest may hold old
 * content there, from before the disk was cut off.
 * @param live the whole disk as it is now, data or zero.
 * @param units what differs of the data; what lies beyond the chain's end among it.
 */
export function rescannedChanges(
  chain: Pick<OpenChain, 'segments' | 'size'>,
  live: ExtentList,
  units: ChangedUnits,
): ExtentList {
  const changes = new ExtentList();
  for (let index = 0; index < live.count; index++) {
    const [offset, length] = [live.offsetAt(index), live.lengthAt(index)];
    if (live.kindAt(index) === ExtentKind.zero) appendZeroed(chain, changes, offset, offset + length);
    else for (const range of units.markedWithin(offset, length)) appendData(changes, range);
  }
  return changes;
}

function appendData(changes: ExtentList, range: { readonly offset: number; readonly length: number }): void {
  changes.append(range.offset, range.length, ExtentKind.data);
}

/** Where the chain has data, or ends, zeroes are a change. */
function appendZeroed(
  { segments, size }: Pick<OpenChain, 'segments' | 'size'>,
  changes: ExtentList,
  start: number,
  end: number,
): void {
  for (let index = segments.find(start); index < segments.count && segments.offsetAt(index) < end; index++) {
    if (segments.isZeroAt(index)) continue;
    const offset = Math.max(start, segments.offsetAt(index));
    changes.append(offset, Math.min(end, segments.endAt(index)) - offset, ExtentKind.zero);
  }
  const beyond = Math.max(start, size);
  if (end > beyond) changes.append(beyond, end - beyond, ExtentKind.zero);
}
