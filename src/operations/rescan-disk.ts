import { ChangedUnits } from '../chain/changed-units.js';
import { type ComparedPiece, type Comparison, planComparisons, ZERO_PART } from '../chain/comparison-plan.js';
import { frameCapacity, loadFrame } from '../chain/load-frame.js';
import type { OpenChain } from '../chain/open-chain.js';
import { rescannedChanges } from '../chain/rescanned-changes.js';
import type { FramePool } from '../codec/frame-pool.js';
import { AbortedError, NbdeltaError } from '../errors.js';
import { ExtentKind, type ExtentList } from '../extents/extent-list.js';
import { BufferSlots } from './buffer-slots.js';
import { type DiskReader, PieceReader } from './piece-reader.js';
import type { ReadPace } from './read-pace.js';

/** Comparisons at once: two for each codec thread (at work, and waiting) and some to read. */
const COMPARISONS_READING = 4;
const MAX_COMPARISONS = 24;
/** What is zero in the chain; never written to. */
const ZEROES = new Uint8Array(ZERO_PART);

export interface RescanOptions {
  readonly reader: DiskReader;
  /** The whole disk as it is now, data or zero. */
  readonly live: ExtentList;
  /** The point that it is compared with. */
  readonly chain: OpenChain;
  readonly pool: FramePool;
  /** Limits how fast it reads; stopped when something fails. */
  readonly pace?: ReadPace | null;
  readonly signal?: AbortSignal | undefined;
  /** Told as bytes are compared, of how many. */
  readonly onProgress?: ((compared: number, total: number) => void) | undefined;
}

export interface Rescan {
  /** What differs, as a change map. */
  readonly changes: ExtentList;
  /** Bytes read from the disk. */
  readonly readBytes: number;
  /** Frames of the chain that could not be read: what the disk has there counts as changed. */
  readonly unreadable: { readonly count: number; readonly first: NbdeltaError | undefined };
}

/**
 * Finds what differs between a disk and a point by reading all that is data now. What a whole frame of the chain
 * holds is compared by its digest alone, in the codec's threads; only what differs, or lies in a frame that is used
 * in part, is decoded and compared byte by byte.
 * Memory is bounded by the slots, the chain's index and a bit for each unit. When it rejects, no read is under way.
 */
export async function rescanDisk(options: RescanOptions): Promise<Rescan> {
  const work = new RescanWork(options);
  await work.compareAll();
  return work.finish();
}

class RescanWork {
  readonly #options: RescanOptions;
  readonly #units: ChangedUnits;
  readonly #pieces: PieceReader;
  readonly #live: BufferSlots;
  readonly #stored: BufferSlots;
  readonly #old: BufferSlots;
  readonly #total: number;
  #readBytes = 0;
  #unreadable = 0;
  #firstUnreadable: NbdeltaError | undefined;
  #failure: { readonly error: unknown } | undefined;

  constructor(options: RescanOptions) {
    const { chain, live, pool, reader, pace } = options;
    this.#options = options;
    this.#pieces = new PieceReader(reader, pace);
    this.#units = new ChangedUnits(live.end);
    if (live.end > chain.size) this.#units.mark(chain.size, live.end - chain.size);
    this.#total = dataBelow(live, chain.size);
    const capacity = frameCapacity(chain);
    const decoding = Math.min(MAX_COMPARISONS, 2 * pool.threads);
    const count = Math.min(MAX_COMPARISONS, COMPARISONS_READING + decoding);
    this.#live = new BufferSlots(count, Math.max(capacity.raw, ZERO_PART));
    this.#stored = new BufferSlots(decoding, capacity.stored);
    this.#old = new BufferSlots(decoding, capacity.raw);
  }

  async compareAll(): Promise<void> {
    const { chain, live, signal } = this.#options;
    const running = new Set<Promise<void>>();
    for (const comparison of planComparisons(chain, live)) {
      if (this.#failure || signal?.aborted) break;
      const raw = await this.#live.acquire();
      if (this.#failure) break;
      const work = this.#compare(comparison, raw);
      running.add(work);
      void work.finally(() => running.delete(work));
    }
    await Promise.all(running);
    if (this.#failure) throw this.#failure.error;
    if (signal?.aborted) throw new AbortedError('backup', signal.reason);
  }

  finish(): Rescan {
    const { chain, live } = this.#options;
    return {
      changes: rescannedChanges(chain, live, this.#units),
      readBytes: this.#readBytes,
      unreadable: { count: this.#unreadable, first: this.#firstUnreadable },
    };
  }

  async #compare(comparison: Comparison, buffer: ArrayBuffer): Promise<void> {
    const slot = { raw: buffer };
    try {
      await this.#pieces.read(comparison.pieces, slot.raw, () => this.#failure);
      if (!(await this.#hasOldDigest(comparison, slot))) await this.#compareBytes(comparison, slot.raw);
      this.#readBytes += comparison.length;
      this.#options.onProgress?.(this.#readBytes, this.#total);
    } catch (error) {
      // Before the slot goes to the next one: its buffer may be lost.
      this.#failure ??= { error };
      this.#options.pace?.stop();
    } finally {
      this.#live.release(slot.raw);
    }
  }

  async #hasOldDigest({ digest, length }: Comparison, slot: { raw: ArrayBuffer }): Promise<boolean> {
    if (digest === null) return false;
    const digested = await this.#options.pool.digest({ raw: slot.raw, rawLength: length });
    slot.raw = digested.raw;
    return Buffer.compare(digested.digest, digest) === 0;
  }

  async #compareBytes({ frame, pieces }: Comparison, raw: ArrayBuffer): Promise<void> {
    if (frame === null) {
      this.#markDifferences(pieces, raw, ZEROES);
      return;
    }
    const buffers = { stored: await this.#stored.acquire(), raw: await this.#old.acquire() };
    try {
      const { chain, pool } = this.#options;
      const length = await loadFrame(chain, frame.archive, frame.frame, buffers, pool);
      this.#markDifferences(pieces, raw, new Uint8Array(buffers.raw, 0, length));
    } catch (error) {
      this.#markUnreadable(pieces, error);
    } finally {
      this.#stored.release(buffers.stored);
      this.#old.release(buffers.raw);
    }
  }

  /** A backup does not fail for want of an old frame: the disk has what belongs there. */
  #markUnreadable(pieces: readonly ComparedPiece[], error: unknown): void {
    if (!isUnreadable(error)) throw error;
    this.#unreadable++;
    this.#firstUnreadable ??= error;
    for (const { offset, length } of pieces) this.#units.mark(offset, length);
  }

  #markDifferences(pieces: readonly ComparedPiece[], raw: ArrayBuffer, old: Uint8Array): void {
    let at = 0;
    for (const { offset, length, within } of pieces) {
      this.#markPiece(offset, new Uint8Array(raw, at, length), old.subarray(within, within + length));
      at += length;
    }
  }

  #markPiece(offset: number, now: Uint8Array, old: Uint8Array): void {
    const { unit } = this.#units;
    for (let at = 0; at < now.length; ) {
      const end = Math.min(now.length, at + unit - ((offset + at) % unit));
      if (Buffer.compare(now.subarray(at, end), old.subarray(at, end)) !== 0) {
        this.#units.mark(offset + at, end - at);
      }
      at = end;
    }
  }
}

/** Whether an error means that old content cannot be had; what is wrong with us, or a stop on request, does not. */
export function isUnreadable(error: unknown): error is NbdeltaError {
  return error instanceof NbdeltaError && error.code !== 'INTERNAL' && error.code !== 'ABORTED';
}

function dataBelow(live: ExtentList, limit: number): number {
  let total = 0;
  for (let index = 0; index < live.count && live.offsetAt(index) < limit; index++) {
    if (live.kindAt(index) !== ExtentKind.data) continue;
    total += Math.min(limit, live.offsetAt(index) + live.lengthAt(index)) - live.offsetAt(index);
  }
  return total;
}
