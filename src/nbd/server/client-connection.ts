import { setMaxListeners } from 'node:events';
import type { Socket } from 'node:net';
import type { BufferShelf } from '../../buffers/buffer-shelf.js';
import { NbdConnectionError, NbdeltaError, toNbdeltaError } from '../../errors.js';
import { clientFault } from '../protocol/client-fault.js';
import { NBD_CMD_DISC, NBD_DEFAULT_MAX_PAYLOAD } from '../protocol/constants.js';
import { encodeReply } from '../protocol/reply-encode.js';
import { EXTENDED_REQUEST_HEADER, REQUEST_HEADER } from '../protocol/request.js';
import { decodeServerRequest, type ServerRequest } from '../protocol/request-decode.js';
import { ClientChannel, ClientLeftError } from './client-channel.js';
import { executeRequest, replyCost } from './execute-request.js';
import { type HandshakeStep, serverHandshake } from './handshake.js';
import type { HandshakePolicy, Negotiated } from './negotiation.js';
import { RequestWindow, type WindowLimits } from './request-window.js';
import type { TlsServerOptions } from './server-tls.js';

const WINDOW: WindowLimits = { requests: 16, bytes: 0x2000000 };
/** A client that said goodbye gets this long to close its side. */
const END_GRACE_MS = 1000;

export interface ConnectionSettings {
  readonly policy: HandshakePolicy;
  readonly tls: TlsServerOptions | undefined;
  readonly handshakeTimeoutMs: number;
  /** Memory of replies, for all clients. */
  readonly shelf: BufferShelf;
  /** What went wrong on a connection or in a source; never called for a client that just leaves. */
  readonly onError: (error: NbdeltaError) => void;
}

/** One client from greeting to goodbye. Whatever it does ends at most this connection. */
export class ClientConnection {
  readonly #settings: ConnectionSettings;
  readonly #description: string;
  readonly #channel: ClientChannel;
  /** The server itself dropped the client: what breaks from now on is no error. */
  #dropped = false;

  constructor(socket: Socket, description: string, settings: ConnectionSettings) {
    this.#settings = settings;
    this.#description = description;
    this.#channel = new ClientChannel(socket, description);
  }

  /** Serves until the client leaves. Never rejects; when it resolves, no source is in use any more. */
  async run(): Promise<void> {
    try {
      const negotiated = await this.#negotiateInTime();
      if (negotiated) await this.#serve(negotiated);
      await this.#channel.end(END_GRACE_MS);
    } catch (error) {
      this.#report(error);
    } finally {
      await this.#channel.destroy();
    }
  }

  /** Drops the client; {@link run} resolves soon after. */
  drop(): Promise<void> {
    this.#dropped = true;
    return this.#channel.destroy();
  }

  #report(error: unknown): void {
    const expected = this.#dropped || error instanceof ClientLeftError;
    if (!expected) this.#settings.onError(named(this.#description, error));
  }

  /** All of the handshake has one time limit: a client that sends a byte now and then gets no more. */
  async #negotiateInTime(): Promise<Negotiated | undefined> {
    const { handshakeTimeoutMs } = this.#settings;
    const timer = setTimeout(() => {
      const message = `no end of the handshake within ${handshakeTimeoutMs} ms`;
      void this.#channel.destroy(new NbdConnectionError('NBD_TIMEOUT', message));
    }, handshakeTimeoutMs);
    try {
      return await this.#negotiate();
    } finally {
      clearTimeout(timer);
    }
  }

  async #negotiate(): Promise<Negotiated | undefined> {
    const handshake = serverHandshake(this.#settings.policy);
    let next = handshake.next(NOTHING);
    while (!next.done) next = handshake.next(await this.#perform(next.value));
    return next.value;
  }

  async #perform(step: HandshakeStep): Promise<Buffer> {
    if (step.kind === 'need') return this.#channel.take(step.length);
    if (step.kind === 'skip') await this.#channel.skip(step.length);
    else if (step.kind === 'send') await this.#channel.send([step.bytes]);
    else if (step.kind === 'farewell')
      await this.#channel.send([step.bytes]).catch(() => undefined); // it may be gone
    else await this.#channel.secure(step.consent, this.#settings.tls!);
    return NOTHING;
  }

  /** Until NBD_CMD_DISC. However it ends, every request that was begun is over when this is. */
  async #serve(negotiated: Negotiated): Promise<void> {
    const window = new RequestWindow(WINDOW);
    const abort = new AbortController();
    setMaxListeners(0, abort.signal); // one per request in flight
    try {
      await this.#serveRequests(negotiated, window, abort.signal);
      await window.idle();
    } catch (error) {
      // Whoever waits for the socket gets the reason too, and nobody computes for a client that is gone.
      const lost = window.requests > 0 ? this.#lostInFlight(error, window.requests) : error;
      abort.abort(lost);
      await this.#channel.destroy(toNbdeltaError(lost));
      await window.idle();
      throw lost;
    }
  }

  #lostInFlight(error: unknown, requests: number): unknown {
    if (!(error instanceof ClientLeftError)) return error;
    const message = `closed the connection with ${requests} requests in flight`;
    return new NbdConnectionError('NBD_CONNECTION_LOST', message, { cause: error });
  }

  async #serveRequests(negotiated: Negotiated, window: RequestWindow, signal: AbortSignal): Promise<void> {
    const extended = negotiated.mode === 'extended';
    while (true) {
      const header = await this.#channel.take(extended ? EXTENDED_REQUEST_HEADER : REQUEST_HEADER);
      const request = decodeServerRequest(header, extended);
      if (request.type === NBD_CMD_DISC) return;
      await this.#skipPayload(request);
      const cost = replyCost(request, negotiated);
      await window.enter(cost);
      void this.#answer(request, negotiated, signal).finally(() => window.leave(cost));
    }
  }

  /** Nothing that a client sends is kept; a payload above the limit is an attack ("Size constraints"). */
  async #skipPayload({ payload }: ServerRequest): Promise<void> {
    if (payload > NBD_DEFAULT_MAX_PAYLOAD) {
      throw clientFault(`payload of ${payload} bytes, at most ${NBD_DEFAULT_MAX_PAYLOAD} allowed`);
    }
    await this.#channel.skip(payload);
  }

  /** Never rejects: a reply that cannot be sent ends the connection. */
  async #answer(request: ServerRequest, negotiated: Negotiated, signal: AbortSignal): Promise<void> {
    const report = (error: unknown) => {
      if (!signal.aborted) this.#report(error);
    };
    const { shelf } = this.#settings;
    try {
      const { reply, memory } = await executeRequest(request, negotiated, { shelf, signal, report });
      if (signal.aborted) return;
      await this.#channel.send(encodeReply(negotiated.mode, request.header, reply));
      // Only what was sent: a socket that failed may still hold it.
      if (memory) shelf.give(memory);
    } catch (error) {
      await this.#channel.destroy(toNbdeltaError(error));
    }
  }
}

const NOTHING = Buffer.alloc(0);

/** The same error with the client's name in front. */
function named(description: string, error: unknown): NbdeltaError {
  const known = toNbdeltaError(error);
  if (known.message.includes(description)) return known;
  const { code, hint, retryable, fields } = known;
  return new NbdeltaError(code, `${description}: ${known.message}`, {
    cause: error,
    retryable,
    fields,
    ...(hint !== undefined && { hint }),
  });
}
