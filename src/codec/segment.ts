import { DamagedError, NbdeltaError } from '../errors.js';
import {
  createCompressor,
  createDecompressor,
  sealedCapacity,
  zstdContentLength,
  zstdFrameLength,
} from './zstd.js';

/** Most raw bytes in one segment of an index. */
export const SEGMENT_MAX = 1024 * 1024;
/** Most stored bytes that one segment can take. */
export const SEGMENT_STORED_MAX = sealedCapacity(SEGMENT_MAX);

const SEGMENT_LEVEL = 3;

/**
 * Compresses one segment (at most {@link SEGMENT_MAX} bytes) into a zstd frame in memory of its own. Runs on the
 * calling thread, a few milliseconds: give the event loop a turn between two segments.
 */
export function compressSegment(raw: Uint8Array): Uint8Array<ArrayBuffer> {
  if (raw.length === 0 || raw.length > SEGMENT_MAX) {
    throw new NbdeltaError('INTERNAL', `index segment of ${raw.length} bytes, expected 1 to ${SEGMENT_MAX}`);
  }
  const out = new Uint8Array(sealedCapacity(raw.length));
  return out.slice(0, createCompressor(SEGMENT_LEVEL).compress(out, raw));
}

/** Splits a stream of stored segments and decompresses them one at a time, in bounded memory. */
export class SegmentDecoder {
  readonly #decompressor = createDecompressor();

  /**
   * Decompresses the segment at the start of `stored` into `target`.
   * @returns how many bytes of `stored` it took and how many it put into `target`; `null` when `stored` ends
   *   before the segment does and more may come.
   * @throws DamagedError when this cannot be a segment.
   */
  decode(stored: Uint8Array, target: Uint8Array): { taken: number; length: number } | null {
    const taken = wholeFrameLength(stored);
    if (taken === null) {
      if (stored.length < SEGMENT_STORED_MAX) return null;
      throw new DamagedError('the index has a segment that is not a zstd frame');
    }
    const frame = stored.subarray(0, taken);
    const claimed = zstdContentLength(frame);
    if (claimed === null || claimed > SEGMENT_MAX || claimed > target.length) {
      throw new DamagedError(
        `the index has a segment of ${claimed ?? 'unknown'} bytes, expected at most ${SEGMENT_MAX}`,
      );
    }
    return { taken, length: this.#decompress(target.subarray(0, claimed), frame) };
  }

  #decompress(target: Uint8Array, frame: Uint8Array): number {
    try {
      return this.#decompressor.decompress(target, frame);
    } catch (cause) {
      throw new DamagedError('the index has a segment that zstd cannot decode', { cause });
    }
  }
}

/** `null` when zstd finds no whole frame: too few bytes, or no frame at all; the two look alike to it. */
function wholeFrameLength(stored: Uint8Array): number | null {
  try {
    return zstdFrameLength(stored);
  } catch {
    return null;
  }
}
