import { expect, it } from 'vitest';
import type { ChainReader } from '#nbdelta/chain/chain-reader.js';
import { ChainSource } from '#nbdelta/chain/chain-source.js';
import { NO_FRAME, SegmentTable } from '#nbdelta/chain/segment-table.js';

const ALLOCATION = 'base:allocation';

/** Data and a gap by turns, `count` of each, `unit` bytes each; every third gap is a stored zero range. */
function fragmented(count: number, unit: number): ChainSource {
  const segments = new SegmentTable();
  for (let index = 0; index < count; index++) {
    segments.append(2 * index * unit, unit, index, 0);
    if (index % 3 === 0) segments.append((2 * index + 1) * unit, unit, NO_FRAME, 0);
  }
  const size = 2 * count * unit;
  return new ChainSource({ chain: { segments, size }, size } as unknown as ChainReader);
}

it('answers for a fragmented disk in time that grows with its extents, not with their square', () => {
  const count = 200_000;
  const source = fragmented(count, 512);
  const started = performance.now();
  const extents = source.status(ALLOCATION, 0, source.size, 2 * count);
  expect(performance.now() - started).toBeLessThan(3000);
  expect(extents).toHaveLength(2 * count);
});

it('gives extents that touch, alternate, and stop at the length and at the limit', () => {
  const source = fragmented(100, 512);
  for (const [offset, length, limit] of [
    [0, source.size, 1000],
    [0, source.size, 7],
    [100, 5000, 1000],
    [511, 2, 1000],
    [512, 512, 1],
    [source.size - 1, 1, 1],
  ] as const) {
    const extents = source.status(ALLOCATION, offset, length, limit);
    expect(extents.length).toBeLessThanOrEqual(limit);
    let at = offset;
    for (const extent of extents) {
      expect(extent.status).toBe(Math.floor(at / 512) % 2 === 0 ? 0 : 3);
      at += extent.length;
      expect(at % 512 === 0 || at === offset + length).toBe(true);
    }
    if (extents.length < limit) expect(at).toBe(offset + length);
  }
});
