interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

/** Cuts a range into parts of at most `limit` bytes. */
export function splitRange(offset: number, length: number, limit: number): ByteRange[] {
  const parts: ByteRange[] = [];
  for (let at = 0; at < length; at += limit) {
    parts.push({ offset: offset + at, length: Math.min(limit, length - at) });
  }
  return parts;
}

/** The smallest range that holds the given one and starts and ends on multiples of `block`. */
export function alignOutward(offset: number, length: number, block: number): ByteRange {
  const start = offset - (offset % block);
  const end = Math.ceil((offset + length) / block) * block;
  return { offset: start, length: end - start };
}
