import { UsageError } from '../../errors.js';
import {
  NBD_DEFAULT_MAX_PAYLOAD,
  NBD_FLAG_CAN_MULTI_CONN,
  NBD_FLAG_HAS_FLAGS,
  NBD_FLAG_READ_ONLY,
  NBD_FLAG_SEND_CACHE,
  NBD_FLAG_SEND_DF,
  NBD_MAX_STRING,
} from '../protocol/constants.js';
import type { BlockSize } from '../protocol/option.js';
import type { ReplyMode } from '../protocol/reply-stream.js';
import type { BlockSource } from './block-source.js';

/** A source under the name that clients ask for. */
export interface ServedExport {
  readonly name: string;
  /** For people; shown by LIST and INFO. */
  readonly description?: string;
  readonly source: BlockSource;
  /** 1 / 4096 / 32 MiB when not given. The maximum cannot be larger. */
  readonly blockSize?: BlockSize;
}

export const DEFAULT_BLOCK_SIZE: BlockSize = {
  minimum: 1,
  preferred: 4096,
  maximum: NBD_DEFAULT_MAX_PAYLOAD,
};

export function blockSizeOf(served: ServedExport): BlockSize {
  return served.blockSize ?? DEFAULT_BLOCK_SIZE;
}

/** Transmission flags of every export: it never changes, so any number of connections see the same. */
export function transmissionFlags(mode: ReplyMode): number {
  const fixed = NBD_FLAG_HAS_FLAGS | NBD_FLAG_READ_ONLY | NBD_FLAG_CAN_MULTI_CONN | NBD_FLAG_SEND_CACHE;
  return mode === 'simple' ? fixed : fixed | NBD_FLAG_SEND_DF;
}

/**
 * The exports by name.
 * @throws UsageError on what no client could use: names given twice, too long, sizes that do not fit.
 */
export function exportTable(exports: readonly ServedExport[]): ReadonlyMap<string, ServedExport> {
  const table = new Map<string, ServedExport>();
  for (const served of exports) {
    checkExport(served);
    if (table.has(served.name)) throw new UsageError(`export "${served.name}" is given twice`);
    table.set(served.name, served);
  }
  return table;
}

function checkExport(served: ServedExport): void {
  const fail = (what: string) => {
    throw new UsageError(`export "${served.name}": ${what}`);
  };
  for (const text of [served.name, served.description ?? '', ...served.source.contexts]) {
    if (Buffer.byteLength(text) > NBD_MAX_STRING)
      fail(`a name or description is over ${NBD_MAX_STRING} bytes`);
    if (text.includes('\0')) fail('a name or description has a NUL');
  }
  const { size } = served.source;
  if (!Number.isSafeInteger(size) || size < 0) fail(`size is ${size}`);
  checkBlockSize(blockSizeOf(served), size, fail);
}

/** What `decodeBlockSize` of a client would refuse, and what this server has no memory for. */
function checkBlockSize(blockSize: BlockSize, size: number, fail: (what: string) => void): void {
  const { minimum, preferred, maximum } = blockSize;
  if (!isPowerOfTwo(minimum) || minimum > 65536) fail(`minimum block size is ${minimum}`);
  if (!isPowerOfTwo(preferred) || preferred < Math.max(512, minimum))
    fail(`preferred block size is ${preferred}`);
  if (!Number.isInteger(maximum) || maximum < preferred || maximum > NBD_DEFAULT_MAX_PAYLOAD) {
    fail(`maximum payload is ${maximum}, expected ${preferred} to ${NBD_DEFAULT_MAX_PAYLOAD}`);
  }
  if (size % minimum !== 0) fail(`size ${size} is not a multiple of the minimum block size ${minimum}`);
}

function isPowerOfTwo(value: number): boolean {
  return value > 0 && Number.isInteger(Math.log2(value));
}
