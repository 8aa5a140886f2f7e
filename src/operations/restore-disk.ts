import { FrameSchedule } from '../chain/frame-schedule.js';
import { frameCapacity, loadFrame } from '../chain/load-frame.js';
import type { OpenChain } from '../chain/open-chain.js';
import { zeroRanges } from '../chain/zero-ranges.js';
import type { FramePool } from '../codec/frame-pool.js';
import { AbortedError } from '../errors.js';
import type { Range } from '../extents/extent-list.js';
import { BufferSlots } from './buffer-slots.js';
import { framesInFlight } from './frames-in-flight.js';
import type { RestoreTarget } from './targets/restore-target.js';

export interface RestoreDiskOptions {
  readonly chain: OpenChain;
  readonly target: RestoreTarget;
  readonly pool: FramePool;
  /** What is written as zeroes to a target with old content; by default all that is zero or in no archive. */
  readonly zeroes?: Iterable<Range> | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Told as bytes of the disk are dealt with. */
  readonly onProgress?: ((done: number) => void) | undefined;
}

/**
 * Writes a chain's newest state to a target: every needed frame is read and decoded once, every byte is written
 * at most once, and only after its frame's digests matched. On a target with old content, what is zero or in no
 * archive is written as zeroes.
 * When it rejects, nothing is under way any more.
 */
export async function restoreDisk(options: RestoreDiskOptions): Promise<void> {
  const work = new RestoreWork(options);
  if (!options.target.zeroed) await work.zeroAll();
  await work.writeAll();
}

class RestoreWork {
  readonly #options: RestoreDiskOptions;
  readonly #schedule: FrameSchedule;
  readonly #slots: { readonly stored: BufferSlots; readonly raw: BufferSlots };
  #done = 0;
  #failure: { readonly error: unknown } | undefined;

  constructor(options: RestoreDiskOptions) {
    this.#options = options;
    this.#schedule = new FrameSchedule(options.chain);
    const capacity = frameCapacity(options.chain);
    const inFlight = framesInFlight(options.pool.threads);
    this.#slots = {
      stored: new BufferSlots(inFlight, capacity.stored),
      raw: new BufferSlots(inFlight, capacity.raw),
    };
  }

  async zeroAll(): Promise<void> {
    for (const range of this.#options.zeroes ?? zeroRanges(this.#options.chain)) {
      this.#checkSignal();
      await this.#options.target.zero(range.offset, range.length);
      this.#progress(range.length);
    }
  }

  async writeAll(): Promise<void> {
    const running = new Set<Promise<void>>();
    for (const visit of this.#schedule.frames()) {
      if (this.#failure || this.#options.signal?.aborted) break;
      const stored = await this.#slots.stored.acquire();
      const raw = await this.#slots.raw.acquire();
      const work = this.#writeFrame(visit, { stored, raw }).catch(error => {
        this.#failure ??= { error };
      });
      running.add(work);
      void work.finally(() => running.delete(work));
    }
    await Promise.all(running);
    if (this.#failure) throw this.#failure.error;
    this.#checkSignal();
  }

  async #writeFrame(
    { archive, frame, segment }: { archive: number; frame: number; segment: number },
    buffers: { stored: ArrayBuffer; raw: ArrayBuffer },
  ): Promise<void> {
    const { chain, pool, target } = this.#options;
    try {
      await loadFrame(chain, archive, frame, buffers, pool);
      for (const index of this.#schedule.segmentsFrom(segment)) {
        const length = chain.segments.lengthAt(index);
        const bytes = new Uint8Array(buffers.raw, chain.segments.withinAt(index), length);
        await target.write(chain.segments.offsetAt(index), bytes);
        this.#progress(length);
      }
    } finally {
      this.#slots.stored.release(buffers.stored);
      this.#slots.raw.release(buffers.raw);
    }
  }

  #progress(bytes: number): void {
    this.#done += bytes;
    this.#options.onProgress?.(this.#done);
  }

  #checkSignal(): void {
    const { signal } = this.#options;
    if (signal?.aborted) throw new AbortedError('restore', signal.reason);
  }
}
