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
