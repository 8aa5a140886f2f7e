import { blake3Digest } from '../codec/blake3.js';
import { ExtentKind, type ExtentList, type Range } from '../extents/extent-list.js';
import { FrameSchedule } from './frame-schedule.js';
import type { OpenChain } from './open-chain.js';
import { zeroRanges } from './zero-ranges.js';

/** What the chain has as zeroes is compared in parts of this many bytes, cut at its multiples on the disk. */
export const ZERO_PART = 1 << 20;

/** A piece of the disk, and where its old content lies in the frame. Bytes. */
export interface ComparedPiece extends Range {
  readonly within: number;
}

/** Pieces of the disk to be read, one after another, and what they were when the chain's point was taken. */
export interface Comparison {
  /** The frame that holds the old content; `null`: it is zero. */
  readonly frame: { readonly archive: number; readonly frame: number } | null;
  readonly pieces: readonly ComparedPiece[];
  /** Of all pieces together. Bytes. */
  readonly length: number;
  /** BLAKE3 of the old content of all pieces together, where it is known: unchanged bytes need not be decoded. */
  readonly digest: Uint8Array | null;
}

/**
 * What has to be read and compared to know how a disk differs from a chain's point, beside what the maps alone
 * tell: all that is data now, up to where the shorter of both ends. Each frame of the chain is visited once:
 *
 *   chain      [frame 1          ][zero ][frame 2: b][frame 2: d]
 *   live       [data             ][data ][data      ][zero      ]
 *   compared   frame 1, by digest; zero; frame 2's b, by bytes        (d changed: no need to read it)
 *
 * @param live the whole disk as it is now, data or zero.
 */
export function* planComparisons(chain: OpenChain, live: ExtentList): Generator<Comparison> {
  const schedule = new FrameSchedule(chain);
  for (const { archive, frame, segment } of schedule.frames()) {
    const pieces = livePieces(chain, live, schedule.segmentsFrom(segment));
    yield* frameComparisons(chain, archive, frame, pieces);
  }
  yield* zeroComparisons(chain, live);
}

/** The pieces of some segments of one frame that are data now. */
function* livePieces(chain: OpenChain, live: ExtentList, indexes: Iterable<number>) {
  const { segments } = chain;
  for (const index of indexes) {
    const start = segments.offsetAt(index);
    const shift = segments.withinAt(index) - start;
    for (const { offset, length } of dataWithin(live, start, segments.endAt(index))) {
      yield { offset, length, within: offset + shift };
    }
  }
}

/** One comparison, unless an archive uses some bytes of the frame twice: the pieces must fit a buffer for the frame. */
function* frameComparisons(
  chain: OpenChain,
  archive: number,
  frame: number,
  all: Iterable<ComparedPiece>,
): Generator<Comparison> {
  const { frames } = chain.archives[archive]!;
  const rawLength = frames.rawLengthAt(frame);
  let pieces: ComparedPiece[] = [];
  let length = 0;
  let isInOrder = true;
  const take = (): Comparison => {
    const isWhole = isInOrder && length === rawLength;
    const digest = isWhole ? frames.digestAt(frame) : null;
    const taken = { frame: { archive, frame }, pieces, length, digest };
    [pieces, length, isInOrder] = [[], 0, true];
    return taken;
  };
  for (const piece of all) {
    if (length + piece.length > rawLength) yield take();
    isInOrder &&= piece.within === length;
    pieces.push(piece);
    length += piece.length;
  }
  if (length > 0) yield take();
}

/** What the chain has as zeroes, or not at all, and is data now. */
function* zeroComparisons(chain: OpenChain, live: ExtentList): Generator<Comparison> {
  const whole = blake3Digest(new Uint8Array(ZERO_PART));
  let pieces: ComparedPiece[] = [];
  let length = 0;
  const take = (): Comparison => {
    const taken = { frame: null, pieces, length, digest: length === ZERO_PART ? whole : null };
    [pieces, length] = [[], 0];
    return taken;
  };
  for (const part of zeroParts(chain, live)) {
    if (length + part.length > ZERO_PART) yield take();
    pieces.push({ ...part, within: length });
    length += part.length;
  }
  if (length > 0) yield take();
}

function* zeroParts(chain: OpenChain, live: ExtentList): Generator<Range> {
  for (const range of zeroRanges(chain)) {
    for (const { offset, length } of dataWithin(live, range.offset, range.offset + range.length)) {
      const end = offset + length;
      for (let start = offset; start < end; ) {
        const stop = Math.min(end, start - (start % ZERO_PART) + ZERO_PART);
        yield { offset: start, length: stop - start };
        start = stop;
      }
    }
  }
}

function* dataWithin(live: ExtentList, start: number, end: number): Generator<Range> {
  for (let index = live.find(start); index < live.count && live.offsetAt(index) < end; index++) {
    if (live.kindAt(index) !== ExtentKind.data) continue;
    const offset = Math.max(start, live.offsetAt(index));
    const stop = Math.min(end, live.offsetAt(index) + live.lengthAt(index));
    yield { offset, length: stop - offset };
  }
}
