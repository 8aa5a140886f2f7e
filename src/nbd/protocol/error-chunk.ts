import { NBD_EINVAL } from './constants.js';
import { readUInt64, wireFault } from './wire-fault.js';

export interface ErrorChunk {
  readonly errno: number;
  readonly message: string;
  /** Where it happened (ERROR_OFFSET only). Bytes. */
  readonly offset: number | undefined;
}

/**
 * Error chunk: u32 error, u16 message length, message; ERROR_OFFSET has a u64 offset behind it.
 * A server that says "error 0" still says error: it counts as EINVAL, as an unknown value would.
 */
export function decodeErrorChunk(payload: Buffer, withOffset: boolean): ErrorChunk {
  const length = payload.readUInt16BE(4);
  const needed = 6 + length + (withOffset ? 8 : 0);
  if (needed > payload.length) {
    throw wireFault(`error chunk of ${payload.length} bytes, its message of ${length} needs ${needed}`);
  }
  return {
    errno: payload.readUInt32BE(0) || NBD_EINVAL,
    message: payload.toString('utf8', 6, 6 + length),
    offset: withOffset ? readUInt64(payload, 6 + length, 'error offset') : undefined,
  };
}
