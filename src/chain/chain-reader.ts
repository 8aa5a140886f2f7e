import type { FramePool } from '../codec/frame-pool.js';
import { AbortedError, UsageError } from '../errors.js';
import { loadFrame } from './load-frame.js';
import type { OpenChain } from './open-chain.js';
import { SequentialStreams } from './sequential-streams.js';

/** A decoded frame in the cache, or on its way there. */
interface CachedFrame {
  readonly bytes: Promise<Uint8Array>;
  /** Bytes that it takes; known before it is decoded. */
  readonly size: number;
}

export interface ChainReaderOptions {
  readonly pool: FramePool;
  /** Bound on decoded frames kept. Bytes; default 64 MiB. At least one frame is always kept. */
  readonly cacheBytes?: number | undefined;
}

const DEFAULT_CACHE = 64 << 20;
/** Segments of one read that are decoded at the same time: it bounds the frames that are held beyond the cache. */
const SEGMENTS_AT_ONCE = 16;
/** How far a read-ahead looks for the next frame. */
const SEGMENTS_AHEAD = 64;

/**
 * Reads any range of a chain's newest state, verified, through a cache of decoded frames with a bound: the least
 * recently used go first. Readers of the same frame at the same time share one decode.
 */
export class ChainReader {
  readonly chain: OpenChain;
  readonly #pool: FramePool;
  readonly #limit: number;
  /** In the order of use: the first is the oldest. */
  readonly #cache = new Map<number, CachedFrame>();
  #cached = 0;
  readonly #streams = new SequentialStreams();

  constructor(chain: OpenChain, { pool, cacheBytes = DEFAULT_CACHE }: ChainReaderOptions) {
    this.chain = chain;
    this.#pool = pool;
    this.#limit = cacheBytes;
  }

  /** Size of the disk. Bytes. */
  get size(): number {
    return this.chain.size;
  }

  /**
   * Fills `target` with the disk's bytes from `offset` on.
   * @throws DamagedError when a frame does not match its digest; `target` is then undefined, never used as data.
   */
  async readInto(offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    const { segments, size } = this.chain;
    const end = offset + target.byteLength;
    if (offset < 0 || end > size)
      throw new UsageError(`read ${offset}+${target.byteLength} outside ${size} bytes`);
    const copies: Promise<void>[] = [];
    let position = offset;
    let index = segments.find(offset);
    for (; position < end; index++) {
      if (signal?.aborted) break;
      const start = index < segments.count ? Math.min(segments.offsetAt(index), end) : end;
      if (start > position) target.fill(0, position - offset, start - offset);
      position = Math.max(position, start);
      if (position >= end) break;
      const stop = Math.min(segments.endAt(index), end);
      copies.push(this.#copySegment(index, position, target.subarray(position - offset, stop - offset)));
      if (copies.length >= SEGMENTS_AT_ONCE) await settle(copies);
      position = stop;
    }
    if (this.#streams.continues(offset, end)) this.#readAhead(index);
    await settle(copies);
    if (signal?.aborted) throw new AbortedError('read', signal.reason);
  }

  /** Begins to decode what a sequential reader asks for next. Errors are for whoever reads it then. */
  #readAhead(from: number): void {
    const { segments } = this.chain;
    const last = Math.min(segments.count, from + SEGMENTS_AHEAD);
    let frames = 0;
    for (let index = from; index < last && frames < this.#pool.threads; index++) {
      if (segments.isZeroAt(index)) continue;
      this.#frame(segments.archiveAt(index), segments.frameAt(index)).catch(() => undefined);
      frames++;
    }
  }

  async #copySegment(index: number, position: number, target: Uint8Array): Promise<void> {
    const { segments } = this.chain;
    if (segments.isZeroAt(index)) {
      target.fill(0);
      return;
    }
    const frame = await this.#frame(segments.archiveAt(index), segments.frameAt(index));
    const within = segments.withinAt(index) + position - segments.offsetAt(index);
    target.set(frame.subarray(within, within + target.byteLength));
  }

  async #frame(archive: number, frame: number): Promise<Uint8Array> {
    const key = archive * 2 ** 32 + frame;
    const cached = this.#cache.get(key);
    if (cached) {
      this.#cache.delete(key);
      this.#cache.set(key, cached);
      return cached.bytes;
    }
    return this.#load(key, archive, frame);
  }

  #load(key: number, archive: number, frame: number): Promise<Uint8Array> {
    const { frames } = this.chain.archives[archive]!;
    const size = frames.rawLengthAt(frame);
    const bytes = this.#decode(archive, frame, frames.storedLengthAt(frame), size);
    this.#cache.set(key, { bytes, size });
    this.#cached += size;
    // A frame that failed is not kept: the file may be mended, and the next reader gets an error of its own.
    bytes.catch(() => this.#drop(key, size));
    this.#evict();
    return bytes;
  }

  #drop(key: number, size: number): void {
    if (this.#cache.delete(key)) this.#cached -= size;
  }

  #evict(): void {
    for (const [key, { size }] of this.#cache) {
      if (this.#cached <= this.#limit || this.#cache.size === 1) return;
      this.#drop(key, size);
    }
  }

  async #decode(archive: number, frame: number, stored: number, raw: number): Promise<Uint8Array> {
    const buffers = { stored: new ArrayBuffer(stored), raw: new ArrayBuffer(raw) };
    const length = await loadFrame(this.chain, archive, frame, buffers, this.#pool);
    return new Uint8Array(buffers.raw, 0, length);
  }
}

/** Waits for all, so that nobody writes into the target any more, and throws what went wrong first. */
async function settle(copies: Promise<void>[]): Promise<void> {
  const results = await Promise.allSettled(copies.splice(0));
  const failed = results.find(result => result.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}
