import { UsageError } from '../../errors.js';
import { CONTEXT_BASE_ALLOCATION } from '../protocol/constants.js';

/** How to connect and how hard to try. */
export interface ClientOptions {
  /** Meta contexts to select; default `base:allocation`. Those not granted are missing in `client.contexts`. */
  readonly contexts?: readonly string[];
  /** Connections when the server says that more than one is safe; default 4, at least 1. */
  readonly connections?: number;
  /** Time limit for connecting and the handshake; default 10,000 ms. */
  readonly handshakeTimeoutMs?: number;
  /** Longest silence while commands are in flight; default 60,000 ms. */
  readonly timeoutMs?: number;
  /** How often a dead connection is opened again for reads, before giving up; default 3. */
  readonly retries?: number;
  /** Pause before the first reconnect, doubled for each further one; default 200 ms. */
  readonly retryDelayMs?: number;
  /** Largest single READ or WRITE on the wire; the server's maximum bounds it too. Default 512 KiB. */
  readonly requestBytes?: number;
  /** Bytes of reads under way at once, of all connections together. Default: 2 MiB, and more where that reads faster. */
  readonly windowBytes?: number;
  /** Offer extended (64-bit) headers; default true. */
  readonly extendedHeaders?: boolean;
  /** Offer structured replies; default true. Without them there is no block status. */
  readonly structuredReplies?: boolean;
  /** Aborts connecting and every command. */
  readonly signal?: AbortSignal;
  /** Told whenever a connection was lost and is opened again. */
  readonly onReconnect?: (cause: Error) => void;
}

export type ResolvedOptions = Required<Omit<ClientOptions, 'signal' | 'onReconnect' | 'windowBytes'>> &
  Pick<ClientOptions, 'signal' | 'onReconnect' | 'windowBytes'>;

/** Fills in the defaults. @throws UsageError for numbers that make no sense. */
export function resolveOptions(options: ClientOptions): ResolvedOptions {
  const resolved = {
    contexts: [CONTEXT_BASE_ALLOCATION],
    connections: 4,
    handshakeTimeoutMs: 10_000,
    timeoutMs: 60_000,
    retries: 3,
    retryDelayMs: 200,
    requestBytes: 512 << 10,
    extendedHeaders: true,
    structuredReplies: true,
    ...options,
  };
  atLeast('connections', resolved.connections, 1);
  atLeast('retries', resolved.retries, 0);
  atLeast('requestBytes', resolved.requestBytes, 1);
  if (resolved.windowBytes !== undefined) atLeast('windowBytes', resolved.windowBytes, 1);
  atLeast('timeoutMs', resolved.timeoutMs, 1);
  atLeast('handshakeTimeoutMs', resolved.handshakeTimeoutMs, 1);
  return resolved;
}

function atLeast(name: string, value: number, minimum: number): void {
  if (!Number.isInteger(value) || value < minimum) {
    throw new UsageError(`${name} is ${value}, expected a whole number of at least ${minimum}`);
  }
}
