import { UsageError } from '../errors.js';
import { NO_FRAME, SegmentTable } from './segment-table.js';

/** What the map needs of an archive's extents; `ExtentTable` is one. Rows ascend and do not overlap. Bytes. */
export interface ArchiveExtents {
  readonly count: number;
  offsetAt(index: number): number;
  lengthAt(index: number): number;
  frameAt(index: number): number;
  withinAt(index: number): number;
  isZeroAt(index: number): boolean;
}

/** Archives are numbered with 16 bits. */
const MAX_ARCHIVES = 0xffff;

/**
 * The chain's merged map: for any byte, the newest archive that has it.
 *
 *   newest   ....[======]......[==]
 *   older    [==========]..[======]
 *   map      [old][newest ]..[old][new]      (".." is in no archive and reads as zero)
 *
 * Merging neighbours pairwise costs the sum of all extents times the logarithm of the chain's length.
 * @param archives oldest first.
 * @param size bytes of the disk at the wanted point; what older archives hold beyond it is cut off.
 */
export function mergeChain(archives: readonly ArchiveExtents[], size: number): SegmentTable {
  if (archives.length > MAX_ARCHIVES) {
    throw new UsageError(`a chain of ${archives.length} archives, at most ${MAX_ARCHIVES} are possible`);
  }
  let tables = archives.map((archive, index) => toSegments(archive, index, size));
  while (tables.length > 1) {
    const merged: SegmentTable[] = [];
    for (let index = 0; index < tables.length; index += 2) {
      const [older, newer] = [tables[index]!, tables[index + 1]];
      merged.push(newer ? overlay(older, newer) : older);
    }
    tables = merged;
  }
  return tables[0] ?? new SegmentTable();
}

function toSegments(archive: ArchiveExtents, position: number, size: number): SegmentTable {
  const table = new SegmentTable();
  for (let index = 0; index < archive.count; index++) {
    const offset = archive.offsetAt(index);
    if (offset >= size) break;
    const length = Math.min(archive.lengthAt(index), size - offset);
    if (archive.isZeroAt(index)) table.append(offset, length, position, NO_FRAME, 0);
    else table.append(offset, length, position, archive.frameAt(index), archive.withinAt(index));
  }
  return table;
}

/** All of `newer`, and of `older` what `newer` leaves free. */
function overlay(older: SegmentTable, newer: SegmentTable): SegmentTable {
  const result = new SegmentTable();
  let old = 0;
  for (let index = 0; index < newer.count; index++) {
    const [start, end] = [newer.offsetAt(index), newer.endAt(index)];
    old = copyUpTo(older, old, start, result);
    copySlice(newer, index, start, end, result);
    while (old < older.count && older.endAt(old) <= end) old++;
  }
  copyUpTo(older, old, Number.POSITIVE_INFINITY, result);
  return result;
}

/**
 * Copies from segment `index` on what lies before `limit` and behind what the result has already.
 * @returns the first segment that reaches beyond `limit`.
 */
function copyUpTo(source: SegmentTable, index: number, limit: number, result: SegmentTable): number {
  let at = index;
  for (; at < source.count && source.offsetAt(at) < limit; at++) {
    const start = Math.max(source.offsetAt(at), result.end);
    const end = Math.min(source.endAt(at), limit);
    if (end > start) copySlice(source, at, start, end, result);
    if (source.endAt(at) > limit) break;
  }
  return at;
}

function copySlice(
  source: SegmentTable,
  index: number,
  start: number,
  end: number,
  result: SegmentTable,
): void {
  const within = source.isZeroAt(index) ? 0 : source.withinAt(index) + start - source.offsetAt(index);
  result.append(start, end - start, source.archiveAt(index), source.frameAt(index), within);
}
