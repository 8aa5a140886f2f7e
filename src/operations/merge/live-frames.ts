import type { OpenChain } from '../../chain/open-chain.js';
import { NO_FRAME } from '../../chain/segment-table.js';

/** A frame that is not worth its place any more: less than this share of its raw bytes is in use. */
const MOSTLY_DEAD = 0.5;

/** How much of each frame of a chain the merged map still uses. 8 bytes a frame. */
export class LiveFrames {
  readonly #chain: OpenChain;
  readonly #live: readonly Float64Array[];

  constructor(chain: OpenChain) {
    const { segments, archives } = chain;
    this.#chain = chain;
    this.#live = archives.map(archive => new Float64Array(archive.frames.count));
    for (let index = 0; index < segments.count; index++) {
      const frame = segments.frameAt(index);
      if (frame === NO_FRAME) continue;
      this.#live[segments.archiveAt(index)]![frame]! += segments.lengthAt(index);
    }
  }

  /** Whether what is left of a frame should be packed anew, rather than the whole frame copied. */
  isMostlyDead(archive: number, frame: number): boolean {
    const raw = this.#chain.archives[archive]!.frames.rawLengthAt(frame);
    return this.#live[archive]![frame]! < raw * MOSTLY_DEAD;
  }
}
