import type { Range } from '../extents/extent-list.js';
import type { ReadPace } from './read-pace.js';
import { ReadPlaces } from './read-places.js';

/** Reads under way, of all buffers together. Buffers of one piece never come near it. */
const MAX_READS_IN_FLIGHT = 256;

export interface DiskReader {
  readInto(offset: number, target: Uint8Array): Promise<void>;
}

/** A failure somewhere else, after which no further read begins. */
type Failure = { readonly error: unknown } | undefined;

/** Reads pieces of a disk one after another into a buffer, many at once. */
export class PieceReader {
  readonly #reader: DiskReader;
  readonly #pace: ReadPace | null;
  readonly #window = new ReadPlaces(MAX_READS_IN_FLIGHT);

  constructor(reader: DiskReader, pace: ReadPace | null = null) {
    this.#reader = reader;
    this.#pace = pace;
  }

  /**
   * Fills `raw` from its start on. A buffer leaves for another thread only when no socket holds a view of it any
   * more: also when it rejects, all reads have settled.
   */
  async read(pieces: Iterable<Range>, raw: ArrayBuffer, stopped: () => Failure): Promise<void> {
    const reads: Promise<void>[] = [];
    let failure: Failure;
    let at = 0;
    for (const { offset, length } of joinTouching(pieces)) {
      await this.#pace?.wait(length);
      await this.#window.enter();
      const stop = failure ?? stopped();
      if (stop) {
        failure = stop;
        this.#window.leave();
        break;
      }
      const read = this.#reader.readInto(offset, new Uint8Array(raw, at, length));
      const settled = read.catch(error => {
        failure ??= { error };
      });
      reads.push(settled.finally(() => this.#window.leave()));
      at += length;
    }
    await Promise.all(reads);
    if (failure) throw failure.error;
  }
}

/** Pieces that touch on the disk were cut where frames are; they lie one after another in the buffer too. */
function* joinTouching(pieces: Iterable<Range>): Generator<Range, void, undefined> {
  let current: Range | undefined;
  for (const piece of pieces) {
    if (current && current.offset + current.length === piece.offset) {
      current = { offset: current.offset, length: current.length + piece.length };
      continue;
    }
    if (current) yield current;
    current = piece;
  }
  if (current) yield current;
}
