import { NbdeltaError } from '../errors.js';
import { blake3Digest, DIGEST_LENGTH, STORED_DIGEST_LENGTH, storedDigestOf } from './blake3.js';
import { compactFrame, findZeroRuns } from './zero-runs.js';
import { sealedCapacity, type ZstdCompressor } from './zstd.js';

/** What sealing found out about one frame. Lengths in bytes. */
export interface Seal {
  /** Raw bytes left after the zero runs were taken out; 0: nothing is stored. */
  readonly liveLength: number;
  /** Bytes of `out` in use: one zstd frame. */
  readonly storedLength: number;
  /** BLAKE3 of the live raw bytes; zeroes when nothing is stored. */
  readonly digest: Uint8Array<ArrayBuffer>;
  /** First 16 bytes of the BLAKE3 of the stored bytes; zeroes when nothing is stored. */
  readonly storedDigest: Uint8Array<ArrayBuffer>;
  /** Triples (piece index, start in the piece, length); see `findZeroRuns`. */
  readonly zeroRuns: Uint32Array<ArrayBuffer>;
}

/**
 * The CPU work on one frame to be stored: takes the zero runs out of `raw` (in place), digests what is left and
 * compresses it into `out`.
 * @throws NbdeltaError INTERNAL when the buffers do not fit each other, or one of them is detached.
 */
export function sealFrame(
  compressor: ZstdCompressor,
  raw: Uint8Array,
  pieceLengths: Uint32Array,
  out: Uint8Array,
): Seal {
  checkBuffers(raw, pieceLengths, out);
  const zeroRuns = findZeroRuns(raw, pieceLengths);
  const liveLength = compactFrame(raw, pieceLengths, zeroRuns);
  if (liveLength === 0) return nothingStored(zeroRuns);
  const live = raw.subarray(0, liveLength);
  const digest = blake3Digest(live);
  const storedLength = compressor.compress(out, live);
  // A detached buffer compresses to a valid empty frame and hashes to the digest of nothing, without an error.
  if (live.length !== liveLength || storedLength > out.length) throw detached('while it was sealed');
  return {
    liveLength,
    storedLength,
    digest,
    storedDigest: storedDigestOf(out.subarray(0, storedLength)),
    zeroRuns,
  };
}

function nothingStored(zeroRuns: Uint32Array<ArrayBuffer>): Seal {
  return {
    liveLength: 0,
    storedLength: 0,
    digest: new Uint8Array(DIGEST_LENGTH),
    storedDigest: new Uint8Array(STORED_DIGEST_LENGTH),
    zeroRuns,
  };
}

function checkBuffers(raw: Uint8Array, pieceLengths: Uint32Array, out: Uint8Array): void {
  let total = 0;
  for (const length of pieceLengths) total += length;
  if (raw.length === 0) throw detached('or empty before it was sealed');
  if (total !== raw.length) {
    throw new NbdeltaError('INTERNAL', `frame of ${raw.length} bytes, its pieces are ${total} bytes`);
  }
  const capacity = sealedCapacity(raw.length);
  if (out.length < capacity) {
    throw new NbdeltaError('INTERNAL', `frame output has ${out.length} bytes, it may need ${capacity}`);
  }
}

function detached(when: string): NbdeltaError {
  return new NbdeltaError('INTERNAL', `frame buffer detached ${when}`);
}
