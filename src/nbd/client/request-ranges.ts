interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

/** Cuts a range into parts of at most `limit` bytes. */
export function splitRange(offset: number, length: number, limit: number): ByteRange[] {
  return [...cutRange(offset, length, limit)];
}

/** The same, one by one. */
export function* cutRange(
  offset: number,
  length: number,
  limit: number,
): Generator<ByteRange, void, undefined> {
  for (let at = 0; at < length; at += limit) {
    yield { offset: offset + at, length: Math.min(limit, length - at) };
  }
}

/** The smallest range that holds the given one and starts and ends on multiples of `block`. */
export function alignOutward(offset: number, length: number, block: number): ByteRange {
  const start = offset - (offset % block);
  const end = Math.ceil((offset + length) / block) * block;
  return { offset: start, length: end - start };
}
