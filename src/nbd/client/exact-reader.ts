import { NbdConnectionError } from '../../errors.js';
import type { ByteSink } from '../protocol/byte-sink.js';
import { wireFault } from '../protocol/wire-fault.js';

/** More than any message of a handshake: a server that sends more unasked is out of step. */
const CAPACITY = 1 << 18;

/** Reads exact amounts during the handshake; bytes that come early wait. */
export class ExactReader implements ByteSink {
  readonly #buffer = Buffer.alloc(CAPACITY);
  #start = 0;
  #end = 0;
  #waiting: { length: number; resolve(bytes: Buffer): void; reject(error: Error): void } | undefined;
  #failure: Error | undefined;
  #received = 0;

  /** Bytes that have arrived so far. */
  get received(): number {
    return this.#received;
  }

  next(): Uint8Array {
    if (this.#end === CAPACITY) {
      this.#buffer.copyWithin(0, this.#start, this.#end);
      this.#end -= this.#start;
      this.#start = 0;
    }
    if (this.#end === CAPACITY) throw wireFault(`${CAPACITY} unasked bytes during the handshake`);
    return this.#buffer.subarray(this.#end);
  }

  advance(length: number): void {
    this.#end += length;
    this.#received += length;
    this.#settle();
  }

  /** Bytes that arrived and nobody asked for yet. */
  get pending(): number {
    return this.#end - this.#start;
  }

  /** The next `length` bytes, as a copy. Rejects when the connection ends before. */
  read(length: number): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      this.#waiting = { length, resolve, reject };
      this.#settle();
    });
  }

  /** The connection ended; whoever waits or will wait gets this error. */
  fail(error: Error): void {
    this.#failure = error;
    this.#settle();
  }

  #settle(): void {
    const waiting = this.#waiting;
    if (!waiting) return;
    if (this.pending >= waiting.length) {
      this.#waiting = undefined;
      const bytes = Buffer.from(this.#buffer.subarray(this.#start, this.#start + waiting.length));
      this.#start += waiting.length;
      waiting.resolve(bytes);
    } else if (this.#failure) {
      this.#waiting = undefined;
      waiting.reject(endedEarly(this.#failure));
    }
  }
}

function endedEarly(cause: Error): Error {
  if (cause instanceof NbdConnectionError) return cause;
  return new NbdConnectionError('NBD_CONNECTION_LOST', `the handshake was cut off: ${cause.message}`, {
    cause,
    retryable: true,
  });
}
