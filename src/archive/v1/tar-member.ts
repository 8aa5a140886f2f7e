import { pack } from 'tar-stream';
import { NbdeltaError } from '../../errors.js';
import { TAR_BLOCK } from './format-limits.js';

/** Largest member whose size ustar can say in octal: 8 GiB - 1. */
export const MAX_MEMBER = 2 ** 33 - 1;

const ZEROES = Buffer.alloc(2 * TAR_BLOCK);

/** Two zero blocks: how a tar ends. */
export const TAR_END: Uint8Array = ZEROES;

/** Zeroes that fill a member of `size` bytes up to whole blocks. */
export function tarPadding(size: number): Uint8Array {
  return ZEROES.subarray(0, (TAR_BLOCK - (size % TAR_BLOCK)) % TAR_BLOCK);
}

/** Bytes that a member takes in a tar: header block, content, padding. */
export function tarMemberLength(size: number): number {
  return TAR_BLOCK + size + tarPadding(size).length;
}

/** The header block of a member: nothing in it depends on when, where or by whom it is written. */
export function encodeTarHeader(name: string, size: number): Promise<Uint8Array> {
  const fixed = { mode: 0o644, uid: 0, gid: 0, mtime: new Date(0), type: 'file' } as const;
  if (size > MAX_MEMBER)
    throw new NbdeltaError('INTERNAL', `tar member ${name} of ${size} bytes, at most ${MAX_MEMBER}`);
  const tar = pack();
  return new Promise<Uint8Array>((resolve, reject) => {
    tar.once('data', block => resolve(block as Uint8Array));
    tar.once('error', reject);
    tar.entry({ ...fixed, name, size }).once('error', reject);
  }).finally(() => tar.destroy());
}

/** Name and size in a ustar header block; `null` when it is none (wrong checksum, magic or size). */
export function decodeTarHeader(block: Buffer): { name: string; size: number } | null {
  if (block.length !== TAR_BLOCK || block.toString('latin1', 257, 263) !== 'ustar\0') return null;
  if (octal(block, 148, 8) !== checksum(block)) return null;
  const size = octal(block, 124, 12);
  const end = block.indexOf(0);
  if (size === null || end < 1 || end > 100) return null;
  return { name: block.toString('latin1', 0, end), size };
}

/** Sum of all bytes, the checksum field itself counted as spaces. */
function checksum(block: Buffer): number {
  let sum = 8 * 0x20;
  for (let at = 0; at < TAR_BLOCK; at++) if (at < 148 || at >= 156) sum += block[at]!;
  return sum;
}

function octal(block: Buffer, at: number, length: number): number | null {
  const digits = /^[0-7]+(?=[ \0]|$)/.exec(block.toString('latin1', at, at + length))?.[0];
  return digits === undefined ? null : Number.parseInt(digits, 8);
}
