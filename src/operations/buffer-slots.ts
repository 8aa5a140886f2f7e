import { AbortedError } from '../errors.js';

/**
 * A fixed number of buffers: that number is the memory bound. They are made when first needed and travel
 * between threads, so what is given back may be another `ArrayBuffer` object of the same size.
 */
export class BufferSlots {
  readonly #bytes: number;
  readonly #free: ArrayBuffer[] = [];
  readonly #waiting: ((buffer: ArrayBuffer) => void)[] = [];
  #unmade: number;

  /** @param count most buffers at any time. @param bytes size of each. */
  constructor(count: number, bytes: number) {
    this.#unmade = count;
    this.#bytes = bytes;
  }

  /** A buffer, as soon as one is free; first come, first served. */
  async acquire(signal?: AbortSignal): Promise<ArrayBuffer> {
    if (signal?.aborted) throw new AbortedError('waiting for memory', signal.reason);
    const free = this.#free.pop();
    if (free) return free;
    if (this.#unmade > 0) {
      this.#unmade--;
      return new ArrayBuffer(this.#bytes);
    }
    return new Promise(resolve => this.#waiting.push(resolve));
  }

  release(buffer: ArrayBuffer): void {
    const waiting = this.#waiting.shift();
    if (waiting) waiting(buffer);
    else this.#free.push(buffer);
  }
}
