import { AbortedError, NbdConnectionError, type NbdeltaError, NbdNegotiationError } from '../../errors.js';
import { NBD_OPT_ABORT, NBD_OPT_STARTTLS } from '../protocol/constants.js';
import { describeAddress, type NbdUri } from '../protocol/uri.js';
import { wireFault } from '../protocol/wire-fault.js';
import type { BytePipe } from '../transport/byte-pipe.js';
import { openPipe, openSocket } from '../transport/connect.js';
import { receiveChunks, SocketPipe } from '../transport/socket-pipe.js';
import { readTlsCredentials, upgradeToTls } from '../transport/tls.js';
import { ExactReader } from './exact-reader.js';
import { Handshake, optionRefused } from './handshake.js';
import {
  type ExportInfo,
  enterTransmission,
  type ListedExport,
  listContexts,
  listExports,
  type NegotiationPlan,
  negotiateReplies,
  selectContexts,
  useExportName,
} from './negotiate.js';

export interface SessionOptions {
  /** Time limit for connecting and for the whole handshake: a server past its limit accepts and never greets. */
  readonly handshakeTimeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** A greeted (and, where asked for, encrypted) connection before any other option. */
interface Greeted {
  readonly pipe: BytePipe;
  readonly reader: ExactReader;
  readonly handshake: Handshake;
  readonly fixed: boolean;
}

/** A connection in the transmission phase. */
export interface Session {
  readonly pipe: BytePipe;
  readonly info: ExportInfo;
}

/** Connects to the URI's server and negotiates its export. */
export async function openSession(
  uri: NbdUri,
  plan: NegotiationPlan,
  options: SessionOptions,
): Promise<Session> {
  return withHandshake(uri, options, async greeted => {
    const info = await negotiate(greeted, plan);
    if (greeted.reader.pending > 0)
      throw wireFault(`${greeted.reader.pending} unasked bytes after the handshake`);
    return { pipe: greeted.pipe, info };
  });
}

async function negotiate({ handshake, fixed, pipe }: Greeted, plan: NegotiationPlan): Promise<ExportInfo> {
  if (!fixed) {
    const facts = await useExportName(handshake, plan, pipe.description);
    return { ...facts, replyMode: 'simple', contexts: new Map() };
  }
  const replyMode = await negotiateReplies(handshake, plan, pipe.description);
  const wanted = replyMode !== 'simple' && plan.contexts.length > 0;
  const contexts = wanted
    ? await selectContexts(handshake, plan, pipe.description)
    : new Map<string, number>();
  return enterTransmission(handshake, plan, { replyMode, contexts }, pipe.description);
}

/** What a server tells without entering an export: its list, and the contexts that it offers for one of them. */
export interface ServerListing {
  /** Undefined when the server refuses to list. */
  readonly exports: readonly ListedExport[] | undefined;
  readonly contexts: readonly string[];
}

/** Asks a server for its exports and for the meta contexts of the URI's export, then leaves politely. */
export async function listServer(uri: NbdUri, options: SessionOptions): Promise<ServerListing> {
  return withHandshake(uri, options, async ({ handshake, fixed, pipe }) => {
    if (!fixed) return finish(pipe, { exports: undefined, contexts: [] });
    const plan = {
      exportName: uri.exportName,
      contexts: [],
      extendedHeaders: false,
      structuredReplies: true,
    };
    const mode = await negotiateReplies(handshake, plan, pipe.description);
    const contexts = mode === 'simple' ? [] : await listContexts(handshake, uri.exportName);
    const exports = await listExports(handshake);
    await handshake.sendOnly(NBD_OPT_ABORT);
    return finish(pipe, { exports, contexts });
  });
}

async function finish<Result>(pipe: BytePipe, result: Result): Promise<Result> {
  await pipe.end(1000);
  return result;
}

/** Runs `use` on a greeted connection; whatever goes wrong, the connection is dropped and the time limit holds. */
async function withHandshake<Result>(
  uri: NbdUri,
  options: SessionOptions,
  use: (greeted: Greeted) => Promise<Result>,
): Promise<Result> {
  const limit = new HandshakeLimit(uri, options);
  try {
    return await use(await greet(uri, options, limit));
  } catch (error) {
    await limit.pipe?.destroy();
    throw limit.reason ?? withServer(limit.refusedInsideTls(error), uri);
  } finally {
    limit.end();
  }
}

/** Ends a handshake that takes too long or is not wanted any more, by dropping its connection. */
class HandshakeLimit {
  #pipe: BytePipe | undefined;
  /** Reads what comes over TLS. */
  secureReader: ExactReader | undefined;
  reason: Error | undefined;
  readonly #timer: NodeJS.Timeout;
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort = () => this.#stop(new AbortedError('NBD handshake', this.#signal?.reason));

  constructor(uri: NbdUri, { handshakeTimeoutMs, signal }: SessionOptions) {
    this.#signal = signal;
    this.#timer = setTimeout(() => this.#stop(tooSlow(uri, handshakeTimeoutMs)), handshakeTimeoutMs);
    signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  /** What is dropped when the time is over. */
  get pipe(): BytePipe | undefined {
    return this.#pipe;
  }

  /** Takes over a connection that was just made. @throws when the time was over before: nothing would end it. */
  holds(pipe: BytePipe): void {
    this.#pipe = pipe;
    this.check();
  }

  /** @throws when the time is over. */
  check(): void {
    if (this.reason) throw this.reason;
  }

  #stop(reason: Error): void {
    this.reason ??= reason;
    void this.#pipe?.destroy();
  }

  /**
   * With TLS 1.3 our side is ready before the server has looked at our certificate: when it does not like it,
   * the end of the connection is the first thing that comes.
   */
  refusedInsideTls(error: unknown): unknown {
    const lost = error instanceof NbdConnectionError && error.code === 'NBD_CONNECTION_LOST';
    if (!lost || !this.#pipe || this.secureReader?.received !== 0) return error;
    return new NbdNegotiationError(
      'NBD_TLS_FAILED',
      `${this.#pipe.description}: the server ended the connection right after the TLS handshake: ${error.message}`,
      {
        cause: error,
        hint: 'it may want a client certificate that it trusts: client-cert.pem and client-key.pem in tls-certificates',
        retryable: true,
      },
    );
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#signal?.removeEventListener('abort', this.#onAbort);
  }
}

function tooSlow(uri: NbdUri, timeoutMs: number): NbdConnectionError {
  const server = describeAddress(uri.address);
  return new NbdConnectionError(
    'NBD_TIMEOUT',
    `${server} did not finish the handshake within ${timeoutMs} ms`,
    {
      hint: 'the server may be at its connection limit (qemu-nbd: -e N): end other clients, or raise the limit',
      retryable: true,
      fields: { server },
    },
  );
}

function withServer(error: unknown, uri: NbdUri): unknown {
  if (!(error instanceof NbdConnectionError) || error.fields['server']) return error;
  const server = describeAddress(uri.address);
  if (error.message.includes(server)) return error;
  return new NbdConnectionError(error.code, `${server}: ${error.message}`, {
    cause: error,
    ...(error.hint ? { hint: error.hint } : {}),
    retryable: error.retryable,
    fields: { ...error.fields, server },
  });
}

async function greet(uri: NbdUri, options: SessionOptions, limit: HandshakeLimit): Promise<Greeted> {
  const connect = { timeoutMs: options.handshakeTimeoutMs, signal: options.signal };
  if (!uri.tls) {
    const pipe = await openPipe(uri.address, connect);
    limit.holds(pipe);
    return greetOver(pipe);
  }
  const credentials = await readTlsCredentials(uri.tls);
  limit.check();
  const socket = await openSocket(uri.address, connect);
  const plain = new SocketPipe(socket, describeAddress(uri.address));
  limit.holds(plain);
  const stopReceiving = receiveChunks(socket, plain);
  const greeted = await greetOver(plain);
  await startTls(greeted, uri);
  stopReceiving();
  const secure = await upgradeToTls(socket, credentials, plain.description, options.handshakeTimeoutMs);
  limit.holds(secure);
  const reader = attachReader(secure);
  limit.secureReader = reader;
  const handshake = new Handshake(secure, reader, greeted.handshake.noZeroes);
  return { pipe: secure, reader, handshake, fixed: true };
}

function attachReader(pipe: BytePipe): ExactReader {
  const reader = new ExactReader();
  pipe.attach(reader, error => reader.fail(error));
  return reader;
}

async function greetOver(pipe: BytePipe): Promise<Greeted> {
  const reader = attachReader(pipe);
  const handshake = new Handshake(pipe, reader);
  const { fixed } = await handshake.greet();
  return { pipe, reader, handshake, fixed };
}

async function startTls({ handshake, reader, fixed, pipe }: Greeted, uri: NbdUri): Promise<void> {
  if (!fixed) throw tlsRefused(pipe.description, 'it does not speak fixed newstyle');
  const answer = await handshake.option(NBD_OPT_STARTTLS);
  if (answer.error !== undefined) {
    const refused = optionRefused(NBD_OPT_STARTTLS, answer, uri.exportName, pipe.description);
    throw tlsRefused(pipe.description, refused.message);
  }
  // Plaintext behind the ACK could only have been put there by somebody in the middle.
  if (reader.pending > 0)
    throw wireFault(`${reader.pending} unencrypted bytes behind the answer to STARTTLS`);
}

function tlsRefused(server: string, why: string): NbdeltaError {
  return new NbdNegotiationError('NBD_TLS_FAILED', `${server} does not offer TLS: ${why}`, {
    hint: 'give the server a certificate or a key, or connect with nbd:// if the network is trusted',
  });
}
