import { ChainReader } from '../chain/chain-reader.js';
import type { OpenChain } from '../chain/open-chain.js';
import { zeroRanges } from '../chain/zero-ranges.js';
import { UsageError } from '../errors.js';
import type { Range } from '../extents/extent-list.js';
import type { Repository } from '../repository/repository.js';
import { openHeldDisk } from './open-held-disk.js';
import { useRepository } from './open-repository.js';
import { openReadingPool } from './reading-pool.js';

export interface OpenChainOptions {
  readonly repository: string | Repository;
  /** `MACHINE[@POINT]`. */
  readonly point: string;
  readonly disk: string;
  /** Bound on decoded frames kept. Bytes; default 32 MiB. */
  readonly cacheBytes?: number | undefined;
  readonly threads?: number | undefined;
}

/** One disk of one point, readable at any offset. */
export interface ChainHandle extends AsyncDisposable {
  readonly machine: string;
  readonly point: string;
  readonly disk: string;
  /** Bytes. */
  readonly size: number;
  /** Ids of the points that its content comes from, oldest first. */
  readonly points: readonly string[];
  /** Ranges that read as zero. */
  zeroRanges(): Iterable<Range>;
  /** `length` verified bytes from `offset` on. @throws UsageError; DamagedError: never bytes that do not match. */
  read(offset: number, length: number): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** Opens a disk of a point for reading, without restoring it. */
export async function openChain(options: OpenChainOptions): Promise<ChainHandle> {
  const repository = await useRepository(options.repository);
  const held = await repository.hold(options.point, 'read');
  let chain: OpenChain;
  try {
    chain = await openHeldDisk(held, options.disk);
  } catch (error) {
    await held[Symbol.asyncDispose]();
    throw error;
  }
  const pool = openReadingPool(options.threads);
  const reader = new ChainReader(chain, { pool, cacheBytes: options.cacheBytes });
  const close = async () => {
    await pool[Symbol.asyncDispose]();
    await chain[Symbol.asyncDispose]();
    await held[Symbol.asyncDispose]();
  };
  return {
    machine: chain.machine,
    point: chain.point,
    disk: chain.disk,
    size: chain.size,
    points: chain.links.map(link => link.point.id),
    zeroRanges: () => zeroRanges(chain),
    read: async (offset, length) => {
      checkRange(offset, length, chain.size);
      const bytes = new Uint8Array(length);
      await reader.readInto(offset, bytes);
      return bytes;
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** Before memory is taken for the range. */
function checkRange(offset: number, length: number, size: number): void {
  const makesSense =
    Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0;
  if (makesSense && offset + length <= size) return;
  throw new UsageError(`read ${offset}+${length} lies outside a disk of ${size} bytes`);
}
