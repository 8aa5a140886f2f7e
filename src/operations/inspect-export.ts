import { connectNbd } from '../nbd/client/client.js';
import { listServer } from '../nbd/client/session.js';
import { TRANSMISSION_FLAG_NAMES } from '../nbd/protocol/constants.js';
import type { BlockSize } from '../nbd/protocol/option.js';
import { describeAddress, type NbdUri, parseNbdUri, redactUri } from '../nbd/protocol/uri.js';

/** Everything that a server tells of an export without reading its data. Sizes in bytes. */
export interface ExportDescription {
  readonly uri: string;
  readonly server: string;
  readonly encrypted: boolean;
  readonly export: string;
  readonly size: number;
  readonly description: string | null;
  /** Transmission flags by name, e.g. `read-only`, `multi-conn`. */
  readonly flags: readonly string[];
  readonly blockSize: BlockSize;
  readonly blockSizeAdvertised: boolean;
  /** How replies are framed: `simple`, `structured` or `extended`. */
  readonly replies: string;
  /** Meta contexts that the server offers for this export; dirty bitmaps are `qemu:dirty-bitmap:NAME`. */
  readonly contexts: readonly string[];
  /** Exports that the server lists; null when it does not tell. */
  readonly exports: readonly { readonly name: string; readonly description: string }[] | null;
}

export interface InspectOptions {
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Asks a server what it offers. Reads no data, changes nothing. */
export async function inspectExport(
  uri: string | NbdUri,
  options: InspectOptions = {},
): Promise<ExportDescription> {
  const parsed = typeof uri === 'string' ? parseNbdUri(uri) : uri;
  const handshakeTimeoutMs = options.timeoutMs ?? 10_000;
  const listing = await listServer(parsed, { handshakeTimeoutMs, signal: options.signal });
  await using client = await connectNbd(parsed, {
    contexts: [],
    connections: 1,
    handshakeTimeoutMs,
    ...(options.signal && { signal: options.signal }),
  });
  const { info } = client;
  return {
    uri: redactUri(parsed.text),
    server: describeAddress(parsed.address),
    encrypted: parsed.tls !== undefined,
    export: info.canonicalName ?? info.exportName,
    size: info.size,
    description: info.description || null,
    flags: Object.entries(TRANSMISSION_FLAG_NAMES).flatMap(([name, flag]) =>
      info.flags & flag ? [name] : [],
    ),
    blockSize: info.blockSize,
    blockSizeAdvertised: info.blockSizeAdvertised,
    replies: info.replyMode,
    contexts: listing.contexts,
    exports: listing.exports ?? null,
  };
}
