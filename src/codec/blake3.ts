import { blake3 } from '@napi-rs/blake-hash';

/** Bytes of a full BLAKE3 digest. */
export const DIGEST_LENGTH = 32;
/** Bytes kept of the digest of a frame's stored bytes. */
export const STORED_DIGEST_LENGTH = 16;

/** BLAKE3 of `bytes`, 32 bytes, in memory of its own. */
export function blake3Digest(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(blake3(asBuffer(bytes)));
}

/** The first 16 bytes of the BLAKE3 of `bytes`, in memory of their own. */
export function storedDigestOf(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(blake3(asBuffer(bytes)).subarray(0, STORED_DIGEST_LENGTH));
}

/** A `Buffer` over the same bytes, without a copy. */
function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
