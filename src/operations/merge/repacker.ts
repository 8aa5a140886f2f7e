import type { ArchiveWriter } from '../../archive/v1/archive-writer.js';
import { splitAtZeroRuns } from '../../archive/v1/frame-entries.js';
import { ChainReader } from '../../chain/chain-reader.js';
import type { OpenChain } from '../../chain/open-chain.js';
import { NO_FRAME } from '../../chain/segment-table.js';
import { type FramePool, sealedCapacity } from '../../codec/frame-pool.js';
import type { Range } from '../../extents/extent-list.js';
import type { LiveFrames } from './live-frames.js';

/** How far ahead on the disk pieces are gathered for one frame. */
const SEGMENTS_AHEAD = 65_536;
const PIECES_MAX = 4096;

/** Where a piece lies from now on: in a new frame, or it turned out to be zero. */
interface PlacedPiece extends Range {
  readonly frame: number;
  readonly within: number;
}

/**
 * Packs what is left of mostly dead frames into new ones: decoded, verified, gathered in the order of the disk,
 * sealed again.
 */
export class Repacker {
  readonly #chain: OpenChain;
  readonly #live: LiveFrames;
  readonly #writer: ArchiveWriter;
  readonly #pool: FramePool;
  readonly #frameSize: number;
  readonly #reader: ChainReader;
  /** In the order of the disk. */
  #placed: PlacedPiece[] = [];
  /** Frames made, and the raw bytes in them. */
  readonly made = { frames: 0, bytes: 0 };

  constructor(
    chain: OpenChain,
    live: LiveFrames,
    writer: ArchiveWriter,
    { pool, frameSize }: { readonly pool: FramePool; readonly frameSize: number },
  ) {
    this.#chain = chain;
    this.#live = live;
    this.#writer = writer;
    this.#pool = pool;
    this.#frameSize = frameSize;
    this.#reader = new ChainReader(chain, { pool });
  }

  /** Writes the extents of a segment that lies in a mostly dead frame. */
  async writeSegment(index: number): Promise<void> {
    const { segments } = this.#chain;
    for (let at = segments.offsetAt(index); at < segments.endAt(index); ) {
      const piece = this.#placed.shift() ?? (await this.#gather(index, at));
      if (piece.frame === NO_FRAME) await this.#writer.addZero(piece.offset, piece.length);
      else await this.#writer.addExtent(piece.offset, piece.length, piece.frame, piece.within);
      at = piece.offset + piece.length;
    }
  }

  /** Fills the next frame, from byte `from` of segment `first` on; returns its first piece. */
  async #gather(first: number, from: number): Promise<PlacedPiece> {
    const pieces = this.#collect(first, from);
    const rawLength = pieces.reduce((sum, { length }) => sum + length, 0);
    const raw = new ArrayBuffer(rawLength);
    let at = 0;
    await Promise.all(
      pieces.map(({ offset, length }) => {
        const target = new Uint8Array(raw, at, length);
        at += length;
        return this.#reader.readInto(offset, target);
      }),
    );
    this.#placed = await this.#seal(pieces, raw);
    return this.#placed.shift()!;
  }

  #collect(first: number, from: number): Range[] {
    const { segments } = this.#chain;
    const pieces: Range[] = [];
    const last = Math.min(segments.count, first + SEGMENTS_AHEAD);
    let room = this.#frameSize;
    for (let index = first; index < last && room > 0 && pieces.length < PIECES_MAX; index++) {
      if (!this.isRepacked(index)) continue;
      const offset = index === first ? from : segments.offsetAt(index);
      const length = Math.min(segments.endAt(index) - offset, room);
      pieces.push({ offset, length });
      room -= length;
    }
    return pieces;
  }

  /** Whether a segment's frame is packed anew. */
  isRepacked(index: number): boolean {
    const { segments } = this.#chain;
    const frame = segments.frameAt(index);
    return frame !== NO_FRAME && this.#live.isMostlyDead(segments.archiveAt(index), frame);
  }

  async #seal(pieces: readonly Range[], raw: ArrayBuffer): Promise<PlacedPiece[]> {
    const pieceLengths = Uint32Array.from(pieces, piece => piece.length);
    const rawLength = raw.byteLength;
    const out = new ArrayBuffer(sealedCapacity(rawLength));
    const sealed = await this.#pool.seal({ raw, rawLength, pieceLengths, out });
    const { liveLength, storedLength, digest, storedDigest } = sealed;
    const frame =
      liveLength === 0
        ? NO_FRAME
        : await this.#writer.addLooseFrame({
            stored: new Uint8Array(sealed.out, 0, storedLength),
            ...{ rawLength: liveLength, digest, storedDigest, release: () => undefined },
          });
    this.made.frames++;
    this.made.bytes += liveLength;
    let within = 0;
    return splitAtZeroRuns(pieces, sealed.zeroRuns).map(({ offset, length, zero }) => {
      if (zero) return { offset, length, frame: NO_FRAME, within: 0 };
      const piece = { offset, length, frame, within };
      within += length;
      return piece;
    });
  }
}
