import { type BufferShelf, shelfSize } from '../buffers/buffer-shelf.js';

/** How a frame gets into memory. */
export interface FrameLoader {
  /** Bytes of a frame's content. */
  rawLength(archive: number, frame: number): number;
  /** Decodes a frame into `raw`, which travels; resolves with the same memory, the content at its start. */
  load(archive: number, frame: number, raw: ArrayBuffer): Promise<ArrayBuffer>;
}

/** A frame's content, for as long as it is held. */
export interface HeldFrame extends Disposable {
  /** Rejects when the frame cannot be had. */
  readonly content: Promise<Uint8Array>;
}

interface Entry {
  readonly content: Promise<Uint8Array>;
  /** Bytes of its buffer. */
  readonly size: number;
  /** Once loaded. */
  buffer: ArrayBuffer | undefined;
  holders: number;
  dropped: boolean;
}

/**
 * Decoded frames, with a bound: the least recently used go first. Who wants the same frame at the same time shares one
 * decode. A buffer is used again when its frame has left the cache and nobody holds it any more.
 */
export class FrameCache {
  readonly #loader: FrameLoader;
  readonly #shelf: BufferShelf;
  readonly #limit: number;
  /** In the order of use: the first is the oldest. */
  readonly #entries = new Map<number, Entry>();
  #bytes = 0;

  /** @param limit bytes of buffers that are kept; at least one frame is, and what is held comes on top. */
  constructor(loader: FrameLoader, shelf: BufferShelf, limit: number) {
    this.#loader = loader;
    this.#shelf = shelf;
    this.#limit = limit;
  }

  /** A frame, from the cache or on its way into it. */
  hold(archive: number, frame: number): HeldFrame {
    const key = archive * 2 ** 32 + frame;
    const entry = this.#entries.get(key) ?? this.#load(archive, frame, key);
    // Last in the order: used last.
    if (this.#entries.delete(key)) this.#entries.set(key, entry);
    entry.holders++;
    let held = true;
    const release = () => {
      if (!held) return;
      held = false;
      entry.holders--;
      this.#recycle(entry);
    };
    return { content: entry.content, [Symbol.dispose]: release };
  }

  #load(archive: number, frame: number, key: number): Entry {
    const length = this.#loader.rawLength(archive, frame);
    const raw = this.#shelf.take(length);
    const entry: Entry = {
      size: shelfSize(length),
      content: this.#loader.load(archive, frame, raw).then(buffer => {
        entry.buffer = buffer;
        const content = new Uint8Array(buffer, 0, length);
        this.#recycle(entry);
        return content;
      }),
      ...{ buffer: undefined, holders: 0, dropped: false },
    };
    this.#entries.set(key, entry);
    this.#bytes += entry.size;
    // A frame that failed is not kept: the file may be mended, and the next reader gets an error of its own.
    entry.content.catch(() => this.#drop(key, entry));
    this.#evict();
    return entry;
  }

  #evict(): void {
    for (const [key, entry] of this.#entries) {
      if (this.#bytes <= this.#limit || this.#entries.size === 1) return;
      this.#drop(key, entry);
    }
  }

  /** Only this very entry: the frame may have been loaded again since it left. */
  #drop(key: number, entry: Entry): void {
    if (this.#entries.get(key) !== entry) return;
    this.#entries.delete(key);
    this.#bytes -= entry.size;
    entry.dropped = true;
    this.#recycle(entry);
  }

  #recycle(entry: Entry): void {
    if (!entry.dropped || entry.holders > 0 || entry.buffer === undefined) return;
    this.#shelf.give(entry.buffer);
    entry.buffer = undefined;
  }
}
