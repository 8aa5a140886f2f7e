import { bitmapContext, readChangeMap } from '../changes/change-map.js';
import { type Extent, ExtentKind, type ExtentList } from '../extents/extent-list.js';
import { connectNbd } from '../nbd/client/client.js';
import { CONTEXT_BASE_ALLOCATION } from '../nbd/protocol/constants.js';
import { type NbdUri, parseNbdUri, redactUri } from '../nbd/protocol/uri.js';
import { type PictureCell, paintDisk } from './disk-picture.js';

/** An export's change map. Bytes. */
export interface ExportMap {
  readonly uri: string;
  readonly size: number;
  /** Bitmap that it shows the changes of; null: the allocation of everything. */
  readonly bitmap: string | null;
  readonly totals: { readonly data: number; readonly zero: number; readonly unchanged: number };
  readonly count: number;
  /** Ascending; what is in no extent is unchanged. */
  extents(): Iterable<Extent>;
  /** Where on the disk they lie. */
  picture(cells: number): PictureCell[];
}

export interface MapOptions {
  /** Dirty bitmap's name; without it the map is what a full would read. */
  readonly bitmap?: string | undefined;
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Reads what a backup of this export would keep, without reading any data. */
export async function mapExport(uri: string | NbdUri, options: MapOptions = {}): Promise<ExportMap> {
  const parsed = typeof uri === 'string' ? parseNbdUri(uri) : uri;
  const contexts = [CONTEXT_BASE_ALLOCATION];
  if (options.bitmap !== undefined) contexts.push(bitmapContext(options.bitmap));
  await using client = await connectNbd(parsed, {
    contexts,
    connections: 1,
    ...(options.timeoutMs !== undefined && { timeoutMs: options.timeoutMs }),
    ...(options.signal && { signal: options.signal }),
  });
  const list = await readChangeMap(client, {
    bitmap: options.bitmap,
    block: client.info.blockSize.minimum,
    signal: options.signal,
  });
  return describeMap(list, redactUri(parsed.text), client.size, options.bitmap ?? null);
}

function describeMap(list: ExtentList, uri: string, size: number, bitmap: string | null): ExportMap {
  const data = list.total(ExtentKind.data);
  const zero = list.total(ExtentKind.zero);
  return {
    uri,
    size,
    bitmap,
    totals: { data, zero, unchanged: size - data - zero },
    count: list.count,
    extents: () => list,
    picture: cells => paintDisk(list, size, cells),
  };
}
