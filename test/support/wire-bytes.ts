/** Bytes from hex with blanks, written by hand from the specification: `wire('25609513 0000', 'ff')`. */
export function wire(...hex: readonly string[]): Buffer {
  const digits = hex.join('').replace(/\s+/g, '');
  if (!/^([0-9a-f]{2})*$/i.test(digits)) throw new Error(`not hex: ${digits}`);
  return Buffer.from(digits, 'hex');
}

/** Text as hex. */
export function ascii(text: string): string {
  return Buffer.from(text).toString('hex');
}

/** An unsigned integer as big-endian hex of `bytes` bytes. */
export function be(value: number | bigint, bytes: 2 | 4 | 8): string {
  return BigInt(value)
    .toString(16)
    .padStart(bytes * 2, '0');
}
