import type { Socket } from 'node:net';
import { errorLine, NbdConnectionError, NbdNegotiationError } from '../../errors.js';
import { clientFault } from '../protocol/client-fault.js';
import { acceptTls, type TlsServerOptions } from './server-tls.js';

/** The client closed the connection between two messages: nothing is wrong with that. */
export class ClientLeftError extends NbdConnectionError {
  constructor(description: string) {
    super('NBD_CONNECTION_LOST', `${description} closed the connection`);
  }
}

/**
 * One client's socket, read on demand: what is not asked for stays in the kernel, and the client has to wait.
 * It knows no NBD.
 */
export class ClientChannel {
  readonly #description: string;
  #socket: Socket;
  #failure: Error | undefined;
  /** The one reader, when it waits. */
  #wake: () => void = () => undefined;
  readonly #onReadable = () => this.#wake();
  readonly #onEnd = () => this.#fail(new ClientLeftError(this.#description));
  readonly #onError = (error: Error) => this.#fail(this.#lost(errorLine(error), error));

  /** @param description for messages: `client 10.0.0.7:5555` */
  constructor(socket: Socket, description: string) {
    this.#socket = socket;
    this.#description = description;
    this.#watch(socket);
  }

  #watch(socket: Socket): void {
    socket.on('readable', this.#onReadable);
    socket.on('end', this.#onEnd);
    socket.on('close', this.#onEnd);
    socket.on('error', this.#onError);
  }

  #lost(what: string, cause?: unknown): NbdConnectionError {
    return new NbdConnectionError('NBD_CONNECTION_LOST', `${this.#description}: ${what}`, { cause });
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#wake();
  }

  /**
   * Exactly `length` bytes, in memory of their own.
   * @throws ClientLeftError when the client closed before the first of them, NbdConnectionError in between.
   */
  async take(length: number): Promise<Buffer> {
    while (true) {
      const bytes: Buffer | null = this.#socket.read(length);
      if (bytes?.length === length) return bytes;
      // At the end of its input a stream gives what is left, however little.
      if (bytes !== null) throw this.#lost(`closed the connection after ${bytes.length} of ${length} bytes`);
      await this.#more();
    }
  }

  /** Throws away the next `length` bytes as they come, without keeping any. */
  async skip(length: number): Promise<void> {
    let rest = length;
    while (rest > 0) {
      const ready = Math.min(rest, this.#socket.readableLength);
      const bytes: Buffer | null = ready > 0 ? this.#socket.read(ready) : this.#socket.read();
      if (bytes === null) await this.#more();
      else rest -= this.#keepBehind(bytes, rest);
    }
  }

  /** Puts back what a read took beyond `wanted` bytes; returns how many of them it took. */
  #keepBehind(bytes: Buffer, wanted: number): number {
    if (bytes.length > wanted) this.#socket.unshift(bytes.subarray(wanted));
    return Math.min(bytes.length, wanted);
  }

  async #more(): Promise<void> {
    if (this.#failure) throw this.#failure;
    await new Promise<void>(resolve => {
      this.#wake = resolve;
    });
    if (this.#failure && this.#socket.readableLength === 0) throw this.#failure;
  }

  /** Sends all chunks in one go; resolves when the kernel has them, rejects when it never will. */
  send(chunks: readonly Uint8Array[]): Promise<void> {
    if (this.#failure) return Promise.reject(this.#failure);
    const socket = this.#socket;
    return new Promise((resolve, reject) => {
      socket.cork();
      chunks.forEach((chunk, index) => {
        const settle = (error?: Error | null) =>
          error ? reject(this.#failure ?? this.#lost(errorLine(error), error)) : resolve();
        socket.write(chunk, index === chunks.length - 1 ? settle : undefined);
      });
      socket.uncork();
    });
  }

  /**
   * Sends the consent in the clear and goes on over TLS.
   * @throws NbdConnectionError when bytes came behind the request for TLS: an attacker on the line could have
   * put them there to be taken for the client's encrypted ones.
   */
  async secure(consent: Uint8Array, options: TlsServerOptions): Promise<void> {
    if (this.#socket.readableLength > 0) throw clientFault('plain bytes behind NBD_OPT_STARTTLS');
    await this.send([consent]);
    const plain = this.#socket;
    plain.off('readable', this.#onReadable);
    try {
      this.#socket = await acceptTls(plain, options);
    } catch (cause) {
      if (this.#failure && !(this.#failure instanceof ClientLeftError)) throw this.#failure;
      const message = `TLS with ${this.#description} failed: ${errorLine(cause)}`;
      throw new NbdNegotiationError('NBD_TLS_FAILED', message, { cause });
    }
    // From here the secured socket tells of the end, after the last byte that it decrypts.
    plain.off('end', this.#onEnd);
    plain.off('close', this.#onEnd);
    this.#watch(this.#socket);
  }

  /** Sends what is queued and closes: over TLS with a proper goodbye. Drops the connection after `graceMs`. */
  async end(graceMs: number): Promise<void> {
    const socket = this.#socket;
    if (socket.destroyed) return;
    const timer = setTimeout(() => socket.destroy(), graceMs);
    socket.off('readable', this.#onReadable);
    socket.resume(); // unread input would keep the end of the stream from being seen
    socket.end();
    await closed(socket);
    clearTimeout(timer);
  }

  /** Drops the connection; whoever reads or sends gets `reason`. Resolves when the socket is closed. */
  async destroy(reason?: Error): Promise<void> {
    this.#fail(reason ?? this.#lost('the connection was closed'));
    this.#socket.destroy();
    await closed(this.#socket);
  }
}

function closed(socket: Socket): Promise<void> {
  if (socket.closed) return Promise.resolve();
  return new Promise(resolve => socket.once('close', () => resolve()));
}
