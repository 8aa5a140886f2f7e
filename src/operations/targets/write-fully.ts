import type { FileHandle } from 'node:fs/promises';
import { targetFailed } from './new-file.js';

const ZEROES = Buffer.alloc(1 << 20);

/** Writes all bytes at `offset`; a short write goes on where it stopped. */
export async function writeFully(
  handle: FileHandle,
  path: string,
  offset: number,
  bytes: Uint8Array,
): Promise<void> {
  try {
    for (let at = 0; at < bytes.byteLength; ) {
      const { bytesWritten } = await handle.write(bytes, at, bytes.byteLength - at, offset + at);
      at += bytesWritten;
    }
  } catch (cause) {
    throw targetFailed('write', path, cause);
  }
}

/** Writes zeroes over a range. */
export async function zeroFully(
  handle: FileHandle,
  path: string,
  offset: number,
  length: number,
): Promise<void> {
  for (let at = 0; at < length; at += ZEROES.length) {
    await writeFully(handle, path, offset + at, ZEROES.subarray(0, Math.min(ZEROES.length, length - at)));
  }
}
