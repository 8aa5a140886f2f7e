import { bitmapContext, readChangeMap } from '../changes/change-map.js';
import { type ChangedExtent, type ReadChangesOptions, readChanges } from '../changes/changed-extents.js';
import { UsageError } from '../errors.js';
import type { ExtentList } from '../extents/extent-list.js';
import { connectNbd, type NbdClient } from '../nbd/client/client.js';
import type { ClientOptions } from '../nbd/client/client-options.js';
import type { StatusRun } from '../nbd/client/status-run.js';
import { CONTEXT_BASE_ALLOCATION } from '../nbd/protocol/constants.js';

export interface ConnectOptions extends Omit<ClientOptions, 'contexts'> {
  /** Dirty bitmap whose changes {@link ExportClient.changes} gives; without it everything is given. */
  readonly bitmap?: string;
  /** Further meta contexts to select. */
  readonly contexts?: readonly string[];
}

/** An export, read as a backup would read it. Offsets and lengths in bytes. */
export interface ExportClient extends AsyncDisposable {
  /** The engine underneath: writes, zeroes, trims, and all that was negotiated. */
  readonly nbd: NbdClient;
  readonly size: number;
  /** Names of the granted meta contexts. */
  readonly contexts: readonly string[];
  /** Reads a range. @throws NbdCommandError, NbdConnectionError. */
  read(offset: number, length: number): Promise<Uint8Array>;
  /** What each granted meta context says from `offset` on; each may cover less or more than `length`. */
  blockStatus(offset: number, length: number): Promise<ReadonlyMap<string, StatusRun>>;
  /** Which ranges have to be kept, and how. @throws NbdNegotiationError (NBD_CONTEXT_MISSING). */
  changeMap(signal?: AbortSignal): Promise<ExtentList>;
  /** The changed ranges with their data, in ascending order, read ahead up to a bound. */
  changes(options?: ReadChangesOptions): AsyncGenerator<ChangedExtent, void, undefined>;
  /** Leaves politely. Safe twice. */
  close(): Promise<void>;
}

/**
 * Connects to the export that an NBD URI names.
 * @throws UsageError, NbdNegotiationError, NbdConnectionError.
 */
export async function connect(uri: string, options: ConnectOptions = {}): Promise<ExportClient> {
  // Programs without types say connect(undefined) when a setting is missing.
  if (typeof uri !== 'string')
    throw new UsageError(`connect to what? expected an NBD URI, got ${typeof uri}`);
  const { bitmap, contexts = [], ...rest } = options;
  const wanted = [CONTEXT_BASE_ALLOCATION, ...contexts];
  if (bitmap !== undefined) wanted.push(bitmapContext(bitmap));
  const client = await connectNbd(uri, { ...rest, contexts: [...new Set(wanted)] });
  const block = client.info.blockSize.minimum;
  const changeMap = (signal?: AbortSignal) => readChangeMap(client, { bitmap, block, signal });
  return {
    nbd: client,
    size: client.size,
    contexts: client.contexts,
    read: (offset, length) => client.read(offset, length),
    blockStatus: (offset, length) => client.blockStatus(offset, length),
    changeMap,
    async *changes(readOptions = {}) {
      yield* readChanges(client, await changeMap(readOptions.signal), readOptions);
    },
    close: () => client.close(),
    [Symbol.asyncDispose]: () => client.close(),
  };
}
