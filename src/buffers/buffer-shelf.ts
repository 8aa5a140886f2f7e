/** Buffers smaller than this are not worth keeping. Bytes. */
const SMALLEST = 64 * 1024;

/**
 * Buffers that were used and may be used again, by size: a power of two. Memory that is let go and taken anew costs
 * zeroing and page faults, and garbage collections, which large buffers call for early.
 */
export class BufferShelf {
  readonly #free = new Map<number, ArrayBuffer[]>();
  readonly #limit: number;
  #bytes = 0;

  /** @param limit bytes that are kept at most. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** A buffer of at least `bytes`, with whatever was in it. */
  take(bytes: number): ArrayBuffer {
    const size = shelfSize(bytes);
    const kept = this.#free.get(size)?.pop();
    if (kept === undefined) return new ArrayBuffer(size);
    this.#bytes -= size;
    return kept;
  }

  /** Nobody may look at `buffer` any more. Buffers of other sizes go when there is no room: they are wanted less. */
  give(buffer: ArrayBuffer): void {
    const size = buffer.byteLength;
    if (size < SMALLEST || size !== shelfSize(size)) return;
    if (this.#bytes + size > this.#limit) this.#keepOnly(size);
    if (this.#bytes + size > this.#limit) return;
    const free = this.#free.get(size) ?? [];
    free.push(buffer);
    this.#free.set(size, free);
    this.#bytes += size;
  }

  #keepOnly(size: number): void {
    for (const other of this.#free.keys()) if (other !== size) this.#free.delete(other);
    this.#bytes = (this.#free.get(size)?.length ?? 0) * size;
  }
}

/** What a buffer of `bytes` takes. */
export function shelfSize(bytes: number): number {
  return bytes <= SMALLEST ? SMALLEST : 2 ** Math.ceil(Math.log2(bytes));
}
