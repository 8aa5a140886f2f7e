import { blake3Digest, storedDigestOf } from './blake3.js';
import type { ZstdDecompressor } from './zstd.js';

/** What can be wrong with a stored frame, in the order in which they are named. */
export const FRAME_CHECKS = {
  'stored-digest': 'the stored bytes do not match their digest',
  decode: 'the stored bytes are not a valid zstd frame',
  length: 'the frame has another length than recorded',
  digest: 'the content does not match its digest',
} as const;

/** The check that a frame did not pass; {@link FRAME_CHECKS} has the words for a user. */
export type FrameCheck = keyof typeof FRAME_CHECKS;

/** What a stored frame must be. */
export interface FrameExpectation {
  readonly rawLength: number;
  /** BLAKE3 of the raw content, 32 bytes. */
  readonly digest: Uint8Array;
  /** First 16 bytes of the BLAKE3 of the stored bytes. */
  readonly storedDigest: Uint8Array;
  /**
   * Whether the stored bytes must match their digest even though the content does: for who asks whether the file is
   * as it was written. Who wants the content has its own digest for that; there, what is stored is only looked at to
   * say what is wrong.
   */
  readonly checkStored: boolean;
}

/**
 * The CPU work on one stored frame: decompresses it into the start of `out` and checks it.
 * @returns `null` when every check passed; then `out` holds `rawLength` bytes with the content's digest. Otherwise the
 *   first check that does not pass, and whatever lies in `out` was erased: it is not data.
 */
export function openFrame(
  decompressor: ZstdDecompressor,
  stored: Uint8Array,
  out: Uint8Array,
  expected: FrameExpectation,
): FrameCheck | null {
  const target = out.subarray(0, expected.rawLength);
  const failed = checkFrame(decompressor, stored, target, expected);
  if (failed !== null) target.fill(0);
  return failed;
}

function checkFrame(
  decompressor: ZstdDecompressor,
  stored: Uint8Array,
  target: Uint8Array,
  expected: FrameExpectation,
): FrameCheck | null {
  // An empty view is what a detached buffer looks like; no frame is empty.
  if (stored.length === 0) return 'stored-digest';
  const failed = checkContent(decompressor, stored, target, expected);
  if (failed === null && !expected.checkStored) return null;
  return sameBytes(storedDigestOf(stored), expected.storedDigest) ? failed : 'stored-digest';
}

function checkContent(
  decompressor: ZstdDecompressor,
  stored: Uint8Array,
  target: Uint8Array,
  expected: FrameExpectation,
): FrameCheck | null {
  if (target.length !== expected.rawLength || target.length === 0) return 'length';
  const length = decompressTo(decompressor, target, stored);
  if (length === null) return 'decode';
  if (length !== expected.rawLength) return 'length';
  return sameBytes(blake3Digest(target), expected.digest) ? null : 'digest';
}

/** `null` when zstd refuses: its message names only its own error classes, the check's name says as much. */
function decompressTo(decompressor: ZstdDecompressor, target: Uint8Array, stored: Uint8Array): number | null {
  try {
    return decompressor.decompress(target, stored);
  } catch {
    return null;
  }
}

function sameBytes(one: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(one, other) === 0;
}
