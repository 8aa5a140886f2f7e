import { ChainReader } from '../../chain/chain-reader.js';
import { frameCapacity } from '../../chain/load-frame.js';
import type { OpenChain } from '../../chain/open-chain.js';
import { NO_FRAME, type SegmentTable } from '../../chain/segment-table.js';
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
    if (isSame(before, left, merged, right, offset, options.isFull)) continue;
    if (!(await isSameContent(old, now, offset, length, left, right))) throw differs(merged, offset, length);
  }
}

function* allFrames(chain: OpenChain): Generator<FramePlace> {
  for (const [archive, { frames }] of chain.archives.entries()) {
    for (let frame = 0; frame < frames.count; frame++) yield { archive, frame };
  }
}

/** A range that lies in one segment of each table, or in none: then the number is `NOWHERE`. */
interface AlignedPiece {
  readonly offset: number;
  readonly length: number;
  readonly left: number;
  readonly right: number;
}

const NOWHERE = -1;

function* alignedPieces(left: SegmentTable, right: SegmentTable): Generator<AlignedPiece> {
  let [i, j, at] = [0, 0, 0];
  while (i < left.count || j < right.count) {
    const [a, b] = [reach(left, i, at), reach(right, j, at)];
    const end = Math.min(a.end, b.end);
    if (a.inside || b.inside) {
      yield { offset: at, length: end - at, left: a.inside ? i : NOWHERE, right: b.inside ? j : NOWHERE };
    }
    at = end;
    if (i < left.count && left.endAt(i) <= at) i++;
    if (j < right.count && right.endAt(j) <= at) j++;
  }
}

/** Up to where the table says the same as at byte `at`; `index`: the first segment that ends after it. */
function reach(
  table: SegmentTable,
  index: number,
  at: number,
): { readonly inside: boolean; readonly end: number } {
  if (index >= table.count) return { inside: false, end: Number.POSITIVE_INFINITY };
  const start = table.offsetAt(index);
  return at < start ? { inside: false, end: start } : { inside: true, end: table.endAt(index) };
}

function isSame(
  before: OpenChain,
  left: number,
  merged: OpenChain,
  right: number,
  offset: number,
  isFull: boolean,
): boolean {
  const a = placeOf(before, left, offset);
  const b = placeOf(merged, right, offset);
  if (a.digest === null || b.digest === null) {
    const isZero = a.digest === null && b.digest === null;
    return isZero && (isFull || (left === NOWHERE) === (right === NOWHERE));
  }
  return a.within === b.within && Buffer.from(a.digest).equals(b.digest);
}

/** Digest of the frame that a byte lies in, and where in it; `null`: the byte is zero, or in no archive. */
function placeOf(
  chain: OpenChain,
  index: number,
  offset: number,
): { readonly digest: Uint8Array | null; readonly within: number } {
  const { segments, archives } = chain;
  if (index === NOWHERE || segments.frameAt(index) === NO_FRAME) return { digest: null, within: 0 };
  return {
    digest: archives[segments.archiveAt(index)]!.frames.digestAt(segments.frameAt(index)),
    within: segments.withinAt(index) + offset - segments.offsetAt(index),
  };
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
