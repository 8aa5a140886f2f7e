import type { StatusExtent } from './block-source.js';

/** A range of a disk that is looked at in units of a fixed size. Bytes. */
export interface RunQuery {
  readonly offset: number;
  readonly length: number;
  readonly maxExtents: number;
  readonly unit: number;
}

/** The status of each unit, neighbours of equal status made one, clipped to the range. */
export function statusRuns(query: RunQuery, statusOf: (unit: number) => number): readonly StatusExtent[] {
  const { offset, length, maxExtents, unit } = query;
  const end = offset + length;
  const runs: StatusExtent[] = [];
  let at = offset;
  while (at < end && runs.length < maxExtents) {
    const status = statusOf(Math.floor(at / unit));
    let next = Math.floor(at / unit) + 1;
    while (next * unit < end && statusOf(next) === status) next++;
    const runEnd = Math.min(next * unit, end);
    runs.push({ length: runEnd - at, status });
    at = runEnd;
  }
  return runs;
}
