import type { Socket } from 'node:net';
import { type ByteSink, feed, nextMemory } from '../protocol/byte-sink.js';
import type { BytePipe } from './byte-pipe.js';

/**
 * The part that all sockets share: sending, ending, and telling the sink's owner once.
 * How bytes come in differs: a plain socket receives straight into the sink's memory
 * ({@link receiveDirectly}), a TLS socket too where Node lets it, else as decrypted chunks ({@link receiveChunks}).
 */
export class SocketPipe implements BytePipe {
  readonly description: string;
  readonly #socket: Socket;
  #sink: ByteSink | undefined;
  #onEnd: ((error: Error) => void) | undefined;
  #failure: Error | undefined;
  #corked = false;
  /** Bytes that came before a sink was attached. */
  readonly #early: Uint8Array[] = [];

  constructor(socket: Socket, description: string) {
    this.#socket = socket;
    this.description = description;
    socket.on('error', error => this.#fail(error));
    socket.on('end', () => this.#fail(new Error('the server closed the connection')));
    socket.on('close', () => this.#fail(new Error('the connection was closed')));
  }

  attach(sink: ByteSink, onEnd: (error: Error) => void): void {
    this.#sink = sink;
    this.#onEnd = onEnd;
    for (const chunk of this.#early.splice(0)) this.receive(chunk);
    if (this.#failure) onEnd(this.#failure);
  }

  /** The sink that is attached now. */
  get sink(): ByteSink | undefined {
    return this.#sink;
  }

  /** Takes in bytes that lie elsewhere; before a sink is attached they wait for it. */
  receive(bytes: Uint8Array): void {
    const sink = this.#sink;
    if (sink) this.#guard(() => feed(sink, bytes));
    else this.#early.push(Uint8Array.prototype.slice.call(bytes));
  }

  /** Where the attached sink wants its next bytes; undefined without a sink, and when it can take no more. */
  nextTarget(): Uint8Array | undefined {
    let target: Uint8Array | undefined;
    // Node asks from inside a read: what is thrown there would end the process, not the connection.
    this.#guard(() => {
      if (this.#sink !== undefined) target = nextMemory(this.#sink);
    });
    return target;
  }

  /** `length` bytes were received into the memory that the attached sink handed out. */
  advance(length: number): void {
    this.#guard(() => this.#sink!.advance(length));
  }

  /** A sink that throws ends the connection: the stream is out of step. */
  #guard(step: () => void): void {
    if (this.#failure) return;
    try {
      step();
    } catch (error) {
      this.#fail(error as Error);
      this.#socket.destroy();
    }
  }

  #fail(error: Error): void {
    if (this.#failure) return;
    this.#failure = error;
    this.#onEnd?.(error);
  }

  write(chunks: readonly Uint8Array[]): Promise<void> {
    if (this.#failure || this.#socket.destroyed) {
      return Promise.reject(this.#failure ?? new Error('the connection was closed'));
    }
    this.#corkUntilNextTick();
    return new Promise((resolve, reject) => {
      chunks.forEach((chunk, index) => {
        const last = index === chunks.length - 1;
        this.#socket.write(chunk, last ? error => (error ? reject(error) : resolve()) : undefined);
      });
    });
  }

  /** Requests made in one turn of the event loop leave in one system call. */
  #corkUntilNextTick(): void {
    if (this.#corked) return;
    this.#corked = true;
    this.#socket.cork();
    process.nextTick(() => {
      this.#corked = false;
      this.#socket.uncork();
    });
  }

  async end(graceMs: number): Promise<void> {
    const timer = setTimeout(() => this.#socket.destroy(), graceMs);
    this.#socket.end();
    await closed(this.#socket);
    clearTimeout(timer);
  }

  async destroy(): Promise<void> {
    this.#socket.destroy();
    await closed(this.#socket);
  }
}

/** Not `events.once`: that rejects on 'error', and a connection that is reset while it closes is closed. */
function closed(socket: Socket): Promise<void> {
  return new Promise(resolve => {
    if (socket.closed) resolve();
    else socket.once('close', () => resolve());
  });
}

/** What `onread` needs to let a socket receive straight into the memory of a pipe's sink. */
export interface DirectReceiver {
  readonly onread: { buffer(): Uint8Array; callback(length: number, buffer: Uint8Array): boolean };
  /** Names the pipe, once it exists. */
  bind(pipe: SocketPipe): void;
}

/**
 * Node asks for the buffer of the next read right after the callback of the last one, so a sink attached
 * in between meets memory of the one before it. Such bytes are copied; nothing is lost or misplaced.
 */
export function receiveDirectly(): DirectReceiver {
  let pipe: SocketPipe | undefined;
  let armed: { readonly sink: ByteSink | undefined; readonly view: Uint8Array } | undefined;
  const spare = Buffer.alloc(4096);
  return {
    onread: {
      buffer: () => {
        const sink = pipe?.sink;
        armed = { sink, view: pipe?.nextTarget() ?? spare };
        return armed.view;
      },
      callback: (length, buffer) => {
        const direct =
          armed?.sink !== undefined &&
          armed.sink === pipe?.sink &&
          armed.view !== spare &&
          armed.view === buffer;
        if (direct) pipe?.advance(length);
        else pipe?.receive(buffer.subarray(0, length));
        return true;
      },
    },
    bind: bound => {
      pipe = bound;
    },
  };
}

/**
 * Receives `data` chunks and copies them to the sink: before TLS takes over, and for TLS where `onread` cannot be had.
 * @returns a function that stops it, so that TLS can take the socket over.
 */
export function receiveChunks(socket: Socket, pipe: SocketPipe): () => void {
  const onData = (chunk: Uint8Array) => pipe.receive(chunk);
  socket.on('data', onData);
  return () => {
    socket.off('data', onData);
    socket.pause();
  };
}
