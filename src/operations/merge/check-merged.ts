import { alignedPieces, isSamePlace, NOWHERE } from '../../chain/aligned-pieces.js';
import { ChainReader } from '../../chain/chain-reader.js';
import { frameCapacity } from '../../chain/load-frame.js';
import type { OpenChain } from '../../chain/open-chain.js';
import type { FramePool } from '../../codec/frame-pool.js';
import { DamagedError } from '../../errors.js';
import { type FramePlace, readStoredFrames } from './stored-frames.js';

export interface CheckMergedOptions {
  readonly pool: FramePool;
  /** Whether what no archive mentions reads as zero: the merged one is a full. */
  readonly isFull: boolean;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Whether a merged archive says the same as what it was merged from, before anything of that goes: every frame is read back and
 * checked, and every byte of the disk lies at the same place of a frame with the same content. Where a frame was
 * packed anew, the bytes themselves are compared.
 * @throws DamagedError.
 */
export async function checkMerged(
  before: OpenChain,
  merged: OpenChain,
  options: CheckMergedOptions,
): Promise<void> {
  const places = allFrames(merged);
  for await (const { release } of readStoredFrames(
    merged,
    places,
    frameCapacity(merged).stored,
    options.signal,
  )) {
    release();
  }
  const old = new ChainReader(before, { pool: options.pool });
  const now = new ChainReader(merged, { pool: options.pool });
  for (const { offset, length, left, right } of alignedPieces(before.segments, merged.segments)) {
    const isMentioned = (left === NOWHERE) === (right === NOWHERE);
    if ((options.isFull || isMentioned) && isSamePlace(before, left, merged, right, offset)) continue;
    if (!(await isSameContent(old, now, offset, length, left, right))) throw differs(merged, offset, length);
  }
}

function* allFrames(chain: OpenChain): Generator<FramePlace> {
  for (const [archive, { frames }] of chain.archives.entries()) {
    for (let frame = 0; frame < frames.count; frame++) yield { archive, frame };
  }
}

const COMPARED_AT_ONCE = 4 << 20;

async function isSameContent(
  old: ChainReader,
  now: ChainReader,
  offset: number,
  length: number,
  left: number,
  right: number,
): Promise<boolean> {
  if (left === NOWHERE || right === NOWHERE) return false;
  for (let at = 0; at < length; at += COMPARED_AT_ONCE) {
    const size = Math.min(COMPARED_AT_ONCE, length - at);
    const [a, b] = [Buffer.alloc(size), Buffer.alloc(size)];
    await Promise.all([old.readInto(offset + at, a), now.readInto(offset + at, b)]);
    if (!a.equals(b)) return false;
  }
  return true;
}

function differs(merged: OpenChain, offset: number, length: number): DamagedError {
  return new DamagedError(
    `disk ${merged.disk}: the merged archive differs from what it was merged from at bytes ${offset}-${offset + length - 1}`,
    { hint: 'nothing was removed; run the merge again, and report it if this happens again' },
  );
}
