import { AbortedError } from '../errors.js';
import { ExtentKind, ExtentList, type Range } from '../extents/extent-list.js';

/** Differences are told in units of this size, at multiples of it. Bytes. */
const UNIT = 512;
const READ_SIZE = 1 << 20;
const READS_AT_ONCE = 8;

/** What can be read anywhere. Bytes. */
export interface RandomReader {
  readonly size: number;
  readInto(offset: number, into: Uint8Array): Promise<void>;
}

export interface DifferingOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (done: number, total: number) => void;
}

/** Of the ranges that may differ, those that do: read on both sides, verified, and compared. */
export async function differingRanges(
  older: RandomReader,
  newer: RandomReader,
  mayDiffer: ExtentList,
  { signal, onProgress }: DifferingOptions,
): Promise<ExtentList> {
  const changed = new ExtentList();
  const total = mayDiffer.total(ExtentKind.data) + mayDiffer.total(ExtentKind.zero);
  const ahead: Promise<Compared>[] = [];
  let done = 0;
  const finishOne = async () => {
    const { ranges, length, kind } = await ahead.shift()!;
    for (const range of ranges) changed.append(range.offset, range.length, kind);
    done += length;
    onProgress?.(done, total);
  };
  try {
    for (const piece of pieces(mayDiffer)) {
      if (signal?.aborted) throw new AbortedError('comparison', signal.reason);
      const compared = compareRange(older, newer, piece);
      // It is awaited in its turn; until then its failure must not count as unhandled.
      compared.catch(() => undefined);
      ahead.push(compared);
      if (ahead.length >= READS_AT_ONCE) await finishOne();
    }
    while (ahead.length > 0) await finishOne();
  } finally {
    await Promise.allSettled(ahead);
  }
  return changed;
}

interface Piece extends Range {
  readonly kind: ExtentKind;
}

interface Compared extends Piece {
  /** What differs of it. */
  readonly ranges: readonly Range[];
}

function* pieces(list: ExtentList): Generator<Piece> {
  for (const { offset, length, kind } of list) {
    for (let at = offset; at < offset + length; ) {
      const stop = Math.min(offset + length, at - (at % READ_SIZE) + READ_SIZE);
      yield { offset: at, length: stop - at, kind };
      at = stop;
    }
  }
}

async function compareRange(older: RandomReader, newer: RandomReader, piece: Piece): Promise<Compared> {
  const { offset, length } = piece;
  // What the disk grew by has nothing to compare with.
  const common = Math.max(0, Math.min(length, older.size - offset));
  const ranges: Range[] = [];
  if (common > 0) {
    const [before, after] = [Buffer.alloc(common), Buffer.alloc(common)];
    await Promise.all([older.readInto(offset, before), newer.readInto(offset, after)]);
    for (const range of differences(before, after, offset)) ranges.push(range);
  }
  if (length > common) ranges.push({ offset: offset + common, length: length - common });
  return { ...piece, ranges };
}

function* differences(before: Buffer, after: Buffer, offset: number): Generator<Range> {
  if (before.equals(after)) return;
  for (let at = 0; at < before.length; ) {
    const next = Math.min(before.length, at + UNIT - ((offset + at) % UNIT));
    if (before.compare(after, at, next, at, next) !== 0) yield { offset: offset + at, length: next - at };
    at = next;
  }
}
