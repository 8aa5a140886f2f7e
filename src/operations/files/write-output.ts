import type { Writable } from 'node:stream';
import { AbortedError, errorLine, TargetError } from '../../errors.js';

/**
 * Writes to a stream that may be a pipe, and waits until it takes more.
 * @throws TargetError when whoever reads it has gone; AbortedError.
 */
export async function writeOutput(
  output: Writable,
  bytes: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const onAbort = () => reject(new AbortedError('files', signal?.reason));
    signal?.addEventListener('abort', onAbort, { once: true });
    output.write(bytes, cause => {
      signal?.removeEventListener('abort', onAbort);
      if (cause) reject(closed(cause));
      else resolve();
    });
  });
}

function closed(cause: Error): TargetError {
  return new TargetError('TARGET_INVALID', `the output was closed before the end: ${errorLine(cause)}`, {
    cause,
    hint: 'what was written so far is not the whole file',
  });
}
