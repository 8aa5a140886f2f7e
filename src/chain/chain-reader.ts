import pLimit from 'p-limit';
import { BufferShelf } from '../buffers/buffer-shelf.js';
import type { FramePool } from '../codec/frame-pool.js';
import { AbortedError, UsageError } from '../errors.js';
import { FrameCache } from './frame-cache.js';
import { loadFrame } from './load-frame.js';
import type { OpenChain } from './open-chain.js';
import { SequentialStreams } from './sequential-streams.js';

export interface ChainReaderOptions {
  readonly pool: FramePool;
  /** Bound on decoded frames kept. Bytes; default 32 MiB. At least one frame is always kept. */
  readonly cacheBytes?: number | undefined;
}

const DEFAULT_CACHE = 32 << 20;
/** Segments of one read that are decoded at the same time: it bounds the frames that are held beyond the cache. */
const SEGMENTS_AT_ONCE = 16;
/** Frames that are loaded at once, however few threads there are: storage far away answers late. */
const LEAST_AT_ONCE = 6;
/** Buffers that wait to be used again: those of a read and of what is read ahead. Bytes. */
const BUFFERS_KEPT = 24 << 20;
/** How far a read-ahead looks for the next frame. */
const SEGMENTS_AHEAD = 64;

/**
 * Reads any range of a chain's newest state, verified, through a cache of decoded frames with a bound: the least
 * recently used go first. Readers of the same frame at the same time share one decode.
 */
export class ChainReader {
  readonly chain: OpenChain;
  readonly #pool: FramePool;
  readonly #shelf = new BufferShelf(BUFFERS_KEPT);
  readonly #cache: FrameCache;
  readonly #streams = new SequentialStreams();
  /** No more frames have their stored bytes in memory than the threads work on, and some that are being read. */
  readonly #turn: ReturnType<typeof pLimit>;

  constructor(chain: OpenChain, { pool, cacheBytes = DEFAULT_CACHE }: ChainReaderOptions) {
    this.chain = chain;
    this.#pool = pool;
    this.#turn = pLimit(Math.max(LEAST_AT_ONCE, 2 * pool.threads + 2));
    const loader = {
      rawLength: (archive: number, frame: number) => chain.archives[archive]!.frames.rawLengthAt(frame),
      load: (archive: number, frame: number, raw: ArrayBuffer) =>
        this.#turn(() => this.#decode(archive, frame, raw)),
    };
    this.#cache = new FrameCache(loader, this.#shelf, cacheBytes);
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
      using ahead = this.#cache.hold(segments.archiveAt(index), segments.frameAt(index));
      ahead.content.catch(() => undefined);
      frames++;
    }
  }

  async #copySegment(index: number, position: number, target: Uint8Array): Promise<void> {
    const { segments } = this.chain;
    if (segments.isZeroAt(index)) {
      target.fill(0);
      return;
    }
    using held = this.#cache.hold(segments.archiveAt(index), segments.frameAt(index));
    const frame = await held.content;
    const within = segments.withinAt(index) + position - segments.offsetAt(index);
    target.set(frame.subarray(within, within + target.byteLength));
  }

  async #decode(archive: number, frame: number, raw: ArrayBuffer): Promise<ArrayBuffer> {
    const stored = this.#shelf.take(this.chain.archives[archive]!.frames.storedLengthAt(frame));
    const buffers = { stored, raw };
    await loadFrame(this.chain, archive, frame, buffers, this.#pool);
    this.#shelf.give(buffers.stored);
    return buffers.raw;
  }
}

/** Waits for all, so that nobody writes into the target any more, and throws what went wrong first. */
async function settle(copies: Promise<void>[]): Promise<void> {
  const results = await Promise.allSettled(copies.splice(0));
  const failed = results.find(result => result.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}
