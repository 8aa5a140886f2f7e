import type { ExtentTable } from '../../archive/v1/extent-table.js';
import type { Range } from '../../extents/extent-list.js';

/** Ranges of a disk of `size` bytes that no extent covers. The extents may be in any order. */
export function* uncovered(extents: ExtentTable, size: number): Generator<Range> {
  const order = Uint32Array.from({ length: extents.count }, (_, index) => index);
  order.sort((a, b) => extents.offsetAt(a) - extents.offsetAt(b));
  let at = 0;
  for (const index of order) {
    const offset = extents.offsetAt(index);
    if (offset > at) yield { offset: at, length: offset - at };
    at = Math.max(at, extents.endAt(index));
  }
  if (size > at) yield { offset: at, length: size - at };
}
