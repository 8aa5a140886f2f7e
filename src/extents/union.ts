import type { Range } from './extent-list.js';

/** What is in either of two ascending sequences of ranges; those that touch or overlap become one. */
export function* unionOf(left: Iterable<Range>, right: Iterable<Range>): Generator<Range> {
  let current: { offset: number; length: number } | undefined;
  for (const { offset, length } of inOrder(left, right)) {
    if (current !== undefined && offset <= current.offset + current.length) {
      current.length = Math.max(current.length, offset + length - current.offset);
      continue;
    }
    if (current !== undefined) yield current;
    current = { offset, length };
  }
  if (current !== undefined) yield current;
}

function* inOrder(left: Iterable<Range>, right: Iterable<Range>): Generator<Range> {
  const [a, b] = [left[Symbol.iterator](), right[Symbol.iterator]()];
  let [x, y] = [a.next(), b.next()];
  while (!x.done || !y.done) {
    if (y.done || (!x.done && x.value.offset <= y.value.offset)) {
      yield x.value as Range;
      x = a.next();
    } else {
      yield y.value;
      y = b.next();
    }
  }
}
