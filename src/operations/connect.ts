import { bitmapContext, readChangeMap } from '../changes/change-map.js';
import { type ChangedExtent, type ReadChangesOptions, readChanges } from '../changes/changed-extents.js';
import type { ExtentList } from '../extents/extent-list.js';
import { connectNbd, type NbdClient } from '../nbd/client/client.js';
import type { ClientOptions } from '../nbd/client/client-options.js';
import { CONTEXT_BASE_ALLOCATION } from '../nbd/protocol/constants.js';

export interface ConnectOptions extends Omit<ClientOptions, 'contexts'> {
  /** Dirty bitmap whose changes {@link ExportReader.changes} gives; without it everything is given. */
  readonly bitmap?: string;
  /** Further meta contexts to select. */
  readonly contexts?: readonly string[];
}

/** An export, read as a backup would read it. */
export interface ExportReader extends AsyncDisposable {
  /** The client underneath: `read`, `readInto`, `blockStatus`, `write`, and what was negotiated. */
  readonly client: NbdClient;
  /** Bytes. */
  readonly size: number;
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
export async function connect(uri: string, options: ConnectOptions = {}): Promise<ExportReader> {
  const { bitmap, contexts = [], ...rest } = options;
  const wanted = [CONTEXT_BASE_ALLOCATION, ...contexts];
  if (bitmap !== undefined) wanted.push(bitmapContext(bitmap));
  const client = await connectNbd(uri, { ...rest, contexts: [...new Set(wanted)] });
  const changeMap = (signal?: AbortSignal) => readChangeMap(client, { bitmap, signal });
  return {
    client,
    size: client.size,
    changeMap,
    async *changes(readOptions = {}) {
      yield* readChanges(client, await changeMap(readOptions.signal), readOptions);
    },
    close: () => client.close(),
    [Symbol.asyncDispose]: () => client.close(),
  };
}
