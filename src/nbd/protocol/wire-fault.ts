import { NbdConnectionError } from '../../errors.js';

/** The stream is out of step: the peer broke the protocol and the connection cannot go on. */
export function wireFault(message: string): NbdConnectionError {
  return new NbdConnectionError('NBD_PROTOCOL', message, {
    hint: 'the server broke the NBD protocol; report it to its maker with the message above',
  });
}

/** Largest integer that survives as a JavaScript number. */
const MAX_SAFE = BigInt(Number.MAX_SAFE_INTEGER);

/**
 * Reads an unsigned 64-bit big-endian integer as a number.
 * @throws NbdConnectionError (NBD_PROTOCOL) above 2^53-1: no offset of ours can be that large.
 */
export function readUInt64(buffer: Buffer, at: number, what: string): number {
  const high = buffer.readUInt32BE(at);
  if (high > 0x1fffff) {
    const seen = buffer.readBigUInt64BE(at);
    throw wireFault(`${what} is ${seen}, larger than ${MAX_SAFE}`);
  }
  return high * 0x100000000 + buffer.readUInt32BE(at + 4);
}

/** Writes a number of at most 2^53-1 as an unsigned 64-bit big-endian integer. */
export function writeUInt64(buffer: Buffer, value: number, at: number): void {
  buffer.writeUInt32BE(Math.floor(value / 0x100000000), at);
  buffer.writeUInt32BE(value >>> 0, at + 4);
}

/** A `Buffer` over the same bytes, without a copy. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
