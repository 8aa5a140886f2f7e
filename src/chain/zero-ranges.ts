import type { Range } from '../extents/extent-list.js';
import type { OpenChain } from './open-chain.js';

/** Ranges that read as zero: zero segments, and what no archive of the chain mentions. Ascending, joined. */
export function* zeroRanges({ segments, size }: Pick<OpenChain, 'segments' | 'size'>): Generator<Range> {
  let start = 0;
  for (let index = 0; index < segments.count; index++) {
    if (segments.isZeroAt(index)) continue;
    const offset = segments.offsetAt(index);
    if (offset > start) yield { offset: start, length: offset - start };
    start = segments.endAt(index);
  }
  if (size > start) yield { offset: start, length: size - start };
}

/** Ranges that the archives themselves say are zero, and nothing else. Ascending. */
export function* explicitZeroes({ segments }: Pick<OpenChain, 'segments'>): Generator<Range> {
  for (let index = 0; index < segments.count; index++) {
    if (segments.isZeroAt(index))
      yield { offset: segments.offsetAt(index), length: segments.lengthAt(index) };
  }
}
