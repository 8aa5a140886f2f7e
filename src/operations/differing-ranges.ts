import type { ChainReader } from '../chain/chain-reader.js';
import { AbortedError } from '../errors.js';
import { ExtentKind, ExtentList } from '../extents/extent-list.js';

/** Differences are told in units of this size, at multiples of it. Bytes. */
const UNIT = 512;
const READ_AT_ONCE = 4 << 20;

export interface DifferingOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (done: number, total: number) => void;
}

/** Of the ranges that may differ, those that do: read on both sides, verified, and compared. */
export async function differingRanges(
  older: ChainReader,
  newer: ChainReader,
  mayDiffer: ExtentList,
  { signal, onProgress }: DifferingOptions,
): Promise<ExtentList> {
  const changed = new ExtentList();
  const total = mayDiffer.total(ExtentKind.data) + mayDiffer.total(ExtentKind.zero);
  let done = 0;
  for (let index = 0; index < mayDiffer.count; index++) {
    const end = mayDiffer.offsetAt(index) + mayDiffer.lengthAt(index);
    for (let at = mayDiffer.offsetAt(index); at < end; ) {
      if (signal?.aborted) throw new AbortedError('diff', signal.reason);
      const stop = Math.min(end, at - (at % READ_AT_ONCE) + READ_AT_ONCE);
      await compareRange(older, newer, { offset: at, length: stop - at }, mayDiffer.kindAt(index), changed);
      done += stop - at;
      at = stop;
      onProgress?.(done, total);
    }
  }
  return changed;
}

async function compareRange(
  older: ChainReader,
  newer: ChainReader,
  { offset, length }: { readonly offset: number; readonly length: number },
  kind: ExtentKind,
  changed: ExtentList,
): Promise<void> {
  // What the disk grew by has nothing to compare with.
  const common = Math.max(0, Math.min(length, older.size - offset));
  const [before, after] = [Buffer.alloc(common), Buffer.alloc(common)];
  await Promise.all([older.readInto(offset, before), newer.readInto(offset, after)]);
  for (let at = 0; at < common; ) {
    const next = Math.min(common, at + UNIT - ((offset + at) % UNIT));
    if (before.compare(after, at, next, at, next) !== 0) changed.append(offset + at, next - at, kind);
    at = next;
  }
  if (length > common) changed.append(offset + common, length - common, kind);
}
