import { ChainReader } from '../../chain/chain-reader.js';
import type { OpenChain } from '../../chain/open-chain.js';
import { readChangeMap } from '../../changes/change-map.js';
import type { FramePool } from '../../codec/frame-pool.js';
import { ExtentKind, ExtentList, type Range } from '../../extents/extent-list.js';
import { unionOf } from '../../extents/union.js';
import { connectNbd, type NbdClient } from '../../nbd/client/client.js';
import { CONTEXT_BASE_ALLOCATION } from '../../nbd/protocol/constants.js';
import { redactUri } from '../../nbd/protocol/uri.js';
import { differingRanges } from '../differing-ranges.js';
import type { DiskComparison } from './verify.js';

/** Ranges that a result lists. */
const MAX_RANGES = 1000;

export interface CompareOptions {
  readonly pool: FramePool;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * Compares a disk of a point with an export, byte for byte; what reads as zero on both sides by their maps is not read.
 * @throws NbdNegotiationError, NbdConnectionError, NbdCommandError: the export's; DamagedError: the point's.
 */
export async function compareExport(
  chain: OpenChain,
  uri: string,
  options: CompareOptions,
): Promise<DiskComparison> {
  const { pool, signal, onProgress } = options;
  await using client = await connectNbd(uri, {
    contexts: [CONTEXT_BASE_ALLOCATION],
    ...(signal && { signal }),
  });
  const mayDiffer = await whereEitherHasData(chain, client, signal);
  const live = { size: client.size, readInto: (at: number, into: Uint8Array) => client.readInto(at, into) };
  const changed = await differingRanges(live, new ChainReader(chain, { pool }), mayDiffer, {
    signal,
    ...(onProgress && { onProgress }),
  });
  const beyond = Math.max(0, client.size - chain.size);
  return {
    ...{ disk: chain.disk, uri: redactUri(uri), sizes: { point: chain.size, live: client.size } },
    compared: mayDiffer.total(ExtentKind.data),
    differing: changed.total(ExtentKind.data) + beyond,
    ranges: changed.count + Math.sign(beyond),
    first: firstRanges(changed, chain.size, beyond),
  };
}

async function whereEitherHasData(
  chain: OpenChain,
  client: NbdClient,
  signal: AbortSignal | undefined,
): Promise<ExtentList> {
  const map = await readChangeMap(client, { block: client.info.blockSize.minimum, signal });
  const list = new ExtentList();
  // What only the point has beyond the export's end differs, whatever it holds.
  const beyond = { offset: client.size, length: Math.max(0, chain.size - client.size) };
  for (const { offset, length } of unionOf(unionOf(dataOf(map), storedRanges(chain)), [beyond])) {
    const end = Math.min(offset + length, chain.size);
    if (end > offset) list.append(offset, end - offset, ExtentKind.data);
  }
  return list;
}

function* dataOf(map: ExtentList): Generator<Range> {
  for (const { offset, length, kind } of map) if (kind === ExtentKind.data) yield { offset, length };
}

function* storedRanges({ segments }: OpenChain): Generator<Range> {
  for (let index = 0; index < segments.count; index++) {
    if (!segments.isZeroAt(index))
      yield { offset: segments.offsetAt(index), length: segments.lengthAt(index) };
  }
}

function firstRanges(changed: ExtentList, size: number, beyond: number): readonly Range[] {
  const ranges: Range[] = [];
  for (let index = 0; index < changed.count && index < MAX_RANGES; index++) {
    ranges.push({ offset: changed.offsetAt(index), length: changed.lengthAt(index) });
  }
  if (beyond > 0 && ranges.length < MAX_RANGES) ranges.push({ offset: size, length: beyond });
  return ranges;
}
