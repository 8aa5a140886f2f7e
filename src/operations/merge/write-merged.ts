import type { ArchiveWriter } from '../../archive/v1/archive-writer.js';
import { FrameSchedule } from '../../chain/frame-schedule.js';
import { frameCapacity } from '../../chain/load-frame.js';
import type { OpenChain } from '../../chain/open-chain.js';
import { NO_FRAME } from '../../chain/segment-table.js';
import type { FramePool } from '../../codec/frame-pool.js';
import { NbdeltaError } from '../../errors.js';
import { LiveFrames } from './live-frames.js';
import { Repacker } from './repacker.js';
import { type FramePlace, type ReadFrame, readStoredFrames } from './stored-frames.js';

export interface WriteMergedOptions {
  /** The archives to be merged. */
  readonly chain: OpenChain;
  readonly writer: ArchiveWriter;
  /** For frames that are packed anew. */
  readonly pool: FramePool;
  /** Raw bytes of those. */
  readonly frameSize: number;
  readonly signal?: AbortSignal | undefined;
  /** Bytes of the disk done. */
  readonly onProgress?: ((done: number) => void) | undefined;
}

/** Stored bytes read and written as they were, and frames made anew. */
export interface MergedFrames {
  readonly copiedFrames: number;
  readonly copiedBytes: number;
  readonly repackedFrames: number;
  readonly repackedBytes: number;
}

/**
 * Writes the merged map of a chain's archives as one archive. Frames are copied as they are, in the order of their first
 * byte on the disk; what is left of mostly dead ones is packed anew.
 */
export async function writeMerged(options: WriteMergedOptions): Promise<MergedFrames> {
  const { chain, writer, signal, onProgress } = options;
  const live = new LiveFrames(chain);
  const repacker = new Repacker(chain, live, writer, options);
  const copies = new CopiedFrames(chain, writer, copiedPlaces(chain, live), signal);
  const { segments } = chain;
  try {
    for (let index = 0; index < segments.count; index++) {
      const [offset, length, frame] = [
        segments.offsetAt(index),
        segments.lengthAt(index),
        segments.frameAt(index),
      ];
      if (frame === NO_FRAME) await writer.addZero(offset, length);
      else if (repacker.isRepacked(index)) await repacker.writeSegment(index);
      else {
        const number = await copies.numberOf(segments.archiveAt(index), frame);
        await writer.addExtent(offset, length, number, segments.withinAt(index));
      }
      onProgress?.(offset + length);
    }
  } finally {
    await copies.close();
  }
  const { frames, bytes } = repacker.made;
  return { ...copies.done, repackedFrames: frames, repackedBytes: bytes };
}

function* copiedPlaces(chain: OpenChain, live: LiveFrames): Generator<FramePlace> {
  for (const { archive, frame } of new FrameSchedule(chain).frames()) {
    if (!live.isMostlyDead(archive, frame)) yield { archive, frame };
  }
}

/** Frames copied so far, and their numbers in the new archive. 4 bytes a frame. */
class CopiedFrames {
  readonly done = { copiedFrames: 0, copiedBytes: 0 };
  readonly #chain: OpenChain;
  readonly #writer: ArchiveWriter;
  readonly #reads: AsyncGenerator<ReadFrame, void, undefined>;
  readonly #numbers: readonly Uint32Array[];

  constructor(chain: OpenChain, writer: ArchiveWriter, places: Iterable<FramePlace>, signal?: AbortSignal) {
    this.#chain = chain;
    this.#writer = writer;
    this.#reads = readStoredFrames(chain, places, frameCapacity(chain).stored, signal);
    this.#numbers = chain.archives.map(({ frames }) => new Uint32Array(frames.count).fill(NO_FRAME));
  }

  /** The number of a frame in the new archive; it is copied when it is needed for the first time. */
  async numberOf(archive: number, frame: number): Promise<number> {
    const known = this.#numbers[archive]![frame]!;
    if (known !== NO_FRAME) return known;
    const next = await this.#reads.next();
    if (next.done || next.value.archive !== archive || next.value.frame !== frame) {
      throw new NbdeltaError('INTERNAL', `merge: frame ${frame} of archive ${archive} comes out of order`);
    }
    const number = await this.#copy(next.value);
    this.#numbers[archive]![frame] = number;
    return number;
  }

  async #copy({ archive, frame, stored, release }: ReadFrame): Promise<number> {
    const { frames, origins } = this.#chain.archives[archive]!;
    this.done.copiedFrames++;
    this.done.copiedBytes += stored.length;
    return await this.#writer.copyFrame({
      stored,
      rawLength: frames.rawLengthAt(frame),
      digest: frames.digestAt(frame),
      storedDigest: frames.storedDigestAt(frame),
      origin: { archiveId: origins[frames.originAt(frame)]!, frame: frames.originFrameAt(frame) },
      release,
    });
  }

  /** Waits until no read is under way. */
  async close(): Promise<void> {
    await this.#reads.return();
  }
}
