import { UsageError } from '../../errors.js';

/** Longest path that Linux takes. Bytes. */
const LONGEST = 4095;

/** @throws UsageError when it is no path from the root of a guest. */
export function checkGuestPath(path: string): void {
  if (!path.startsWith('/')) {
    throw new UsageError(`${JSON.stringify(path)} is not a path of the guest: it begins with "/"`, {
      hint: 'also for Windows: /Users/…, without a drive letter',
    });
  }
  if (path.includes('\0')) throw new UsageError('a path cannot have a zero byte in it');
  if (Buffer.byteLength(path) > LONGEST) throw new UsageError(`a path has at most ${LONGEST} bytes`);
}
