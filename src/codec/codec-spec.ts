import { UsageError } from '../errors.js';

/** How frames are compressed. */
export interface CodecSpec {
  readonly name: 'zstd' | 'none';
  /** zstd's compression level; for `none` the level at which zstd stores blocks raw. */
  readonly level: number;
  /** The spelling that {@link parseCodec} takes and archives record: `zstd:1`, `none`. */
  readonly text: string;
}

/**
 * `none` is zstd at its lowest level: it stores blocks practically raw at memory speed, and still makes a
 * frame with a checksum that stock tools read.
 */
const STORE_LEVEL = -131072;

/**
 * Parses `zstd:1` … `zstd:19` or `none`.
 * @throws UsageError on anything else.
 */
export function parseCodec(text: string): CodecSpec {
  if (text === 'none') return { name: 'none', level: STORE_LEVEL, text };
  const level = Number(/^zstd:([1-9]|1[0-9])$/.exec(text)?.[1]);
  if (level >= 1) return { name: 'zstd', level, text };
  throw new UsageError(`unknown codec ${JSON.stringify(text)}`, {
    hint: 'use zstd:1 (fast) to zstd:19 (small), or none',
  });
}
