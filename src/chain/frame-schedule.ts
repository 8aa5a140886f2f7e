import type { OpenChain } from './open-chain.js';
import { NO_FRAME } from './segment-table.js';

const NONE = -1;

/**
 * Which segments of the merged map lie in which frame, so that every needed frame is read and decoded once:
 *
 *   disk     [seg 0: frame 7][seg 1: frame 2][seg 2: frame 7]
 *   visits   frame 7 → segments 0, 2;  frame 2 → segment 1
 *
 * 4 bytes a segment and 4 a frame: each frame has the head of a list that runs through its segments.
 */
export class FrameSchedule {
  readonly #chain: OpenChain;
  readonly #heads: readonly Int32Array[];
  readonly #next: Int32Array;

  constructor(chain: OpenChain) {
    const { segments, archives } = chain;
    this.#chain = chain;
    this.#heads = archives.map(archive => new Int32Array(archive.frames.count).fill(NONE));
    this.#next = new Int32Array(segments.count).fill(NONE);
    for (let index = segments.count - 1; index >= 0; index--) {
      const frame = segments.frameAt(index);
      if (frame === NO_FRAME) continue;
      const heads = this.#heads[segments.archiveAt(index)]!;
      this.#next[index] = heads[frame]!;
      heads[frame] = index;
    }
  }

  /** Every needed frame once, in the order of its first byte on the disk; `segment` is its first segment. */
  *frames(): Generator<{ readonly archive: number; readonly frame: number; readonly segment: number }> {
    const { segments } = this.#chain;
    for (let segment = 0; segment < segments.count; segment++) {
      const frame = segments.frameAt(segment);
      if (frame === NO_FRAME) continue;
      const archive = segments.archiveAt(segment);
      if (this.#heads[archive]![frame] === segment) yield { archive, frame, segment };
    }
  }

  /** The segments of a frame, ascending, from its first one on. */
  *segmentsFrom(first: number): Generator<number> {
    for (let segment = first; segment !== NONE; segment = this.#next[segment]!) yield segment;
  }
}
