import { once } from 'node:events';
import type { Writable } from 'node:stream';
import { errorLine, StorageError } from '../errors.js';
import { type View, viewOf } from './display/view.js';

/** A stream that results or messages go to. A reader that went away (`| head`) is no error: the rest is dropped. */
export class Output {
  readonly view: View;
  readonly #stream: Writable;
  #closed = false;
  #failure: Error | undefined;

  constructor(stream: Writable & { readonly isTTY?: boolean; readonly columns?: number }) {
    this.#stream = stream;
    this.view = viewOf(stream);
    stream.on('error', (error: NodeJS.ErrnoException) => {
      this.#closed = true;
      if (error.code !== 'EPIPE') this.#failure ??= error;
    });
  }

  /** Whether nobody reads any more. */
  get closed(): boolean {
    return this.#closed;
  }

  write(text: string): void {
    if (!this.#closed) this.#stream.write(text);
  }

  line(text = ''): void {
    this.write(`${text}\n`);
  }

  /** Writes any number of pieces, waiting for a slow reader between them. */
  async writeAll(pieces: Iterable<string>): Promise<void> {
    let waiting = '';
    for (const piece of pieces) {
      waiting += piece;
      if (waiting.length < 65_536) continue;
      if (this.#closed) return;
      if (!this.#stream.write(waiting)) await this.#drained();
      waiting = '';
    }
    this.write(waiting);
  }

  async #drained(): Promise<void> {
    // An error ends the wait as well; the listener above has noted it.
    await once(this.#stream, 'drain').catch(() => undefined);
  }

  /** Resolves when everything was handed over. @throws StorageError when it could not be (a full disk). */
  async flush(): Promise<void> {
    if (!this.#closed) await new Promise<void>(resolve => this.#stream.write('', () => resolve()));
    if (!this.#failure) return;
    throw new StorageError(`the output cannot be written: ${errorLine(this.#failure)}`, {
      cause: this.#failure,
      hint: 'what was printed is not complete',
    });
  }
}
