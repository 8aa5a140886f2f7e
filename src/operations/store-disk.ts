import type { ArchiveWriter } from '../archive/v1/archive-writer.js';
import type { FrameEntry } from '../archive/v1/frame-entries.js';
import { splitAtZeroRuns } from '../archive/v1/frame-entries.js';
import { dataPieces, type FramePlan, planFrames } from '../changes/plan-frames.js';
import { type FramePool, type SealedFrame, sealedCapacity } from '../codec/frame-pool.js';
import { AbortedError } from '../errors.js';
import type { ExtentList } from '../extents/extent-list.js';
import { BufferSlots } from './buffer-slots.js';
import { framesInFlight } from './frames-in-flight.js';
import { type DiskReader, PieceReader } from './piece-reader.js';
import type { ReadPace } from './read-pace.js';

/** Sealed frames that the writer may hold: one pack that fills and one that is being written, 16 frames each. */
const FRAMES_HELD = 32;

/** The memory that frames pass through. One disk after another may use it; after a failure parts of it are missing. */
export class StoreBuffers {
  readonly raws: BufferSlots;
  readonly outs: BufferSlots;

  constructor(pool: FramePool, frameSize: number) {
    const inFlight = framesInFlight(pool.threads);
    this.raws = new BufferSlots(inFlight, frameSize);
    this.outs = new BufferSlots(inFlight + FRAMES_HELD, sealedCapacity(frameSize));
  }
}

export interface StoreDiskOptions {
  readonly reader: DiskReader;
  readonly changes: ExtentList;
  readonly writer: ArchiveWriter;
  readonly pool: FramePool;
  /** Raw bytes of a frame. */
  readonly frameSize: number;
  /** Default: memory of its own. */
  readonly buffers?: StoreBuffers | undefined;
  /** Limits how fast it reads; stopped when something fails. */
  readonly pace?: ReadPace | null;
  readonly signal?: AbortSignal | undefined;
  /** Told after each frame: bytes read and bytes of zero ranges that needed no read. */
  readonly onProgress?: ((readBytes: number, zeroBytes: number) => void) | undefined;
}

/**
 * Reads what the change map says, seals it and writes it, in the order of the disk:
 *
 *   plan ─▶ read (many at once) ─▶ seal (threads) ─▶ write (in order)
 *
 * Memory is bounded by the slots. Both slots of a frame are taken in the order of the disk, so a frame never
 * waits for a slot that a later one holds. When it rejects, no read is under way any more.
 * @returns bytes read from the export.
 */
export async function storeDisk(options: StoreDiskOptions): Promise<number> {
  const pipeline = new Pipeline(
    options,
    options.buffers ?? new StoreBuffers(options.pool, options.frameSize),
  );
  for (const plan of planFrames(options.changes, options.frameSize)) {
    if (!(await pipeline.add(plan))) break;
  }
  return pipeline.finish();
}

class Pipeline {
  readonly #options: StoreDiskOptions;
  readonly #raws: BufferSlots;
  readonly #outs: BufferSlots;
  /** Settles when everything added so far is written; each frame hangs itself behind the one before. */
  #written: Promise<void> = Promise.resolve();
  readonly #reading = new Set<Promise<unknown>>();
  readonly #pieces: PieceReader;
  #failure: { readonly error: unknown } | undefined;
  #readBytes = 0;
  #zeroBytes = 0;

  constructor(options: StoreDiskOptions, { raws, outs }: StoreBuffers) {
    this.#options = options;
    this.#pieces = new PieceReader(options.reader, options.pace);
    this.#raws = raws;
    this.#outs = outs;
  }

  /** Starts a frame as soon as there is memory for it; false when something failed and no more should come. */
  async add(plan: FramePlan): Promise<boolean> {
    if (this.#options.signal?.aborted) this.#fail(new AbortedError('backup', this.#options.signal.reason));
    if (this.#failure) return false;
    if (plan.rawLength === 0) {
      this.#inOrder(async () => this.#writeZeroes(plan));
      await this.#written;
      return this.#failure === undefined;
    }
    const raw = await this.#raws.acquire();
    const out = await this.#outs.acquire();
    if (this.#failure) return false;
    const sealed = this.#readAndSeal(plan, raw, out);
    this.#reading.add(sealed);
    sealed.catch(error => this.#fail(error)).finally(() => this.#reading.delete(sealed));
    this.#inOrder(async () => this.#writeFrame(plan, await sealed));
    return true;
  }

  /** Waits until everything is written, or, after a failure, until nothing is under way; then says how it went. */
  async finish(): Promise<number> {
    await this.#written;
    await Promise.allSettled(this.#reading);
    if (this.#failure) throw this.#failure.error;
    return this.#readBytes;
  }

  #inOrder(step: () => Promise<void>): void {
    this.#written = this.#written.then(async () => {
      if (this.#failure) return;
      await step().catch(error => this.#fail(error));
    });
  }

  #fail(error: unknown): void {
    this.#failure ??= { error };
    this.#options.pace?.stop();
    // Whoever waits for a slot must wake up and see the failure.
    this.#raws.release(new ArrayBuffer(0));
    this.#outs.release(new ArrayBuffer(0));
  }

  async #readAndSeal(plan: FramePlan, raw: ArrayBuffer, out: ArrayBuffer): Promise<SealedFrame> {
    const pieces = dataPieces(plan);
    await this.#pieces.read(pieces, raw, () => this.#failure);
    const pieceLengths = Uint32Array.from(pieces, piece => piece.length);
    const sealed = await this.#options.pool.seal({ raw, rawLength: plan.rawLength, pieceLengths, out });
    this.#raws.release(sealed.raw);
    return sealed;
  }

  async #writeFrame(plan: FramePlan, sealed: SealedFrame): Promise<void> {
    const pieces = dataPieces(plan);
    const entries = mergeZeroes(splitAtZeroRuns(pieces, sealed.zeroRuns), plan);
    this.#count(plan);
    if (sealed.liveLength === 0) {
      this.#outs.release(sealed.out);
      for (const entry of entries) await this.#options.writer.addZero(entry.offset, entry.length);
      return;
    }
    await this.#options.writer.addFrame({
      stored: new Uint8Array(sealed.out, 0, sealed.storedLength),
      rawLength: sealed.liveLength,
      digest: sealed.digest,
      storedDigest: sealed.storedDigest,
      entries,
      release: () => this.#outs.release(sealed.out),
    });
  }

  async #writeZeroes(plan: FramePlan): Promise<void> {
    for (const extent of plan.extents) await this.#options.writer.addZero(extent.offset, extent.length);
    this.#count(plan);
  }

  #count(plan: FramePlan): void {
    this.#readBytes += plan.rawLength;
    for (const extent of plan.extents) if (extent.zero) this.#zeroBytes += extent.length;
    this.#options.onProgress?.(this.#readBytes, this.#zeroBytes);
  }
}

/** Puts the plan's zero ranges back between the pieces, in the order of the disk. */
function mergeZeroes(entries: readonly FrameEntry[], plan: FramePlan): readonly FrameEntry[] {
  const zeroes = plan.extents.filter(extent => extent.zero);
  if (zeroes.length === 0) return entries;
  return [...entries, ...zeroes].sort((left, right) => left.offset - right.offset);
}
