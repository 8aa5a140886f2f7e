import { createHash } from 'node:crypto';
import { SEGMENT_STORED_MAX, SegmentDecoder } from '../../codec/segment.js';
import { DamagedError } from '../../errors.js';
import type { IndexPlace } from './archive-trailer.js';
import type { IndexContent } from './index-codec.js';
import { IndexDecoder, type IndexExpectation } from './index-decoder.js';
import type { VolumeReader } from './volume-files.js';

/** Bytes of the stored index that are read at once. */
const READ_SIZE = 4 * 1024 * 1024;

/**
 * Reads and checks an index. Its SHA-256 comes first: an index that is damaged *and* makes no sense is damaged.
 * @throws DamagedError; ChainError CHAIN_FOREIGN; NbdeltaError FORMAT_UNSUPPORTED; what the volume's reader throws.
 */
export async function readIndex(
  reader: VolumeReader,
  place: IndexPlace,
  expected: Omit<IndexExpectation, 'rawLength'>,
): Promise<IndexContent> {
  const stream = new IndexStream({ ...expected, rawLength: place.rawLength }, place.storedLength);
  const sha256 = createHash('sha256');
  for (let done = 0; done < place.storedLength; ) {
    const target = stream.room(place.storedLength - done);
    await reader.read(place.offset + done, target);
    sha256.update(target);
    stream.accept(target.length);
    done += target.length;
  }
  const digest = sha256.digest('hex');
  if (digest !== place.sha256) {
    throw new DamagedError(`the index has SHA-256 ${digest}, expected ${place.sha256}`, {
      hint: 'the archive is damaged: copy it again from where it is whole, or restore an older point',
    });
  }
  return stream.finish();
}

/** Stored bytes in, index out. What does not decode is remembered until the digest was checked. */
class IndexStream {
  readonly #segments = new SegmentDecoder();
  readonly #decoder: IndexDecoder;
  readonly #stored: Buffer;
  #held = 0;
  #failure: { readonly error: unknown } | undefined;

  constructor(expected: IndexExpectation, storedLength: number) {
    this.#decoder = new IndexDecoder(expected);
    this.#stored = Buffer.alloc(Math.min(READ_SIZE + SEGMENT_STORED_MAX, storedLength));
  }

  /** Where to put up to `left` more stored bytes. */
  room(left: number): Uint8Array {
    return this.#stored.subarray(this.#held, this.#held + Math.min(left, READ_SIZE));
  }

  /** Takes the bytes that were put into {@link room}. */
  accept(length: number): void {
    if (this.#failure !== undefined) return;
    try {
      this.#decode(this.#held + length);
    } catch (error) {
      this.#failure = { error };
      this.#held = 0;
    }
  }

  finish(): IndexContent {
    if (this.#failure !== undefined) throw this.#failure.error;
    if (this.#held > 0)
      throw new DamagedError(`the index ends inside a segment, ${this.#held} bytes into it`);
    return this.#decoder.finish();
  }

  #decode(end: number): void {
    let at = 0;
    while (at < end) {
      const segment = this.#segments.decode(this.#stored.subarray(at, end), this.#decoder.target);
      if (segment === null) break;
      this.#decoder.accept(segment.length);
      at += segment.taken;
    }
    this.#stored.copyWithin(0, at, end);
    this.#held = end - at;
  }
}
