import type { ByteSink } from '../protocol/byte-sink.js';

/** A connected stream of bytes in both directions. It knows no NBD. */
export interface BytePipe {
  /** For messages: `unix:/run/nbd.sock`, `host:10809`, with "over TLS" when it is. */
  readonly description: string;
  /** Everything received from now on goes to this sink; `onEnd` is called once, when no more can come. */
  attach(sink: ByteSink, onEnd: (error: Error) => void): void;
  /** Queues bytes; they must not change until the promise settles (it resolves when the kernel has them). */
  write(chunks: readonly Uint8Array[]): Promise<void>;
  /** Sends what is queued, closes our side, and resolves when the socket is closed or after `graceMs`. */
  end(graceMs: number): Promise<void>;
  /**
   * Drops the connection. Resolves when the socket is closed: only then is memory that was handed out by the
   * sink free for other use (the kernel may write into it until then).
   */
  destroy(): Promise<void>;
}
