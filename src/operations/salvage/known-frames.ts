import { MAX_FRAME_RAW, MAX_FRAME_STORED } from '../../archive/v1/format-limits.js';
import { FrameTable } from '../../archive/v1/frame-table.js';
import type { FoundTable } from '../../archive/v1/pack-scan.js';

/** Frames of an archive as far as they are known, with where each is. About 140 bytes a frame. */
export class KnownFrames {
  readonly #rows = new FrameTable();
  readonly #files: number[] = [];
  readonly #offsets: number[] = [];
  readonly #byNumber = new Map<number, number>();

  get count(): number {
    return this.#rows.count;
  }

  /** Takes over the rows of an index, which say themselves where they are. */
  addIndex(frames: FrameTable): void {
    for (let row = 0; row < frames.count; row++) {
      this.#add(frames, row, row, frames.volumeAt(row) - 1, frames.offsetAt(row));
    }
  }

  /** Takes over a pack's rows: its frames lie one after another, right before its table. */
  addPack({ at, table }: FoundTable, file: number): void {
    const { frames, firstFrame } = table;
    let total = 0;
    for (let row = 0; row < frames.count; row++) total += frames.storedLengthAt(row);
    let offset = at - total;
    for (let row = 0; row < frames.count; row++) {
      this.#add(frames, row, firstFrame + row, file, offset);
      offset += frames.storedLengthAt(row);
    }
  }

  /** Rows that make no sense are left out: what lies in them is lost. The first one of a number counts. */
  #add(frames: FrameTable, row: number, number: number, file: number, offset: number): void {
    const [raw, stored] = [frames.rawLengthAt(row), frames.storedLengthAt(row)];
    const isSane = raw >= 1 && raw <= MAX_FRAME_RAW && stored >= 1 && stored <= MAX_FRAME_STORED;
    if (!isSane || offset < 0 || frames.keyIdAt(row) !== 0 || this.#byNumber.has(number)) return;
    this.#byNumber.set(number, this.#rows.count);
    this.#rows.append({
      ...{ digest: frames.digestAt(row), storedDigest: frames.storedDigestAt(row) },
      ...{ storedLength: stored, rawLength: raw, keyId: 0, origin: 0, originFrame: number },
    });
    this.#files.push(file);
    this.#offsets.push(offset);
  }

  /** Row of a frame by its number in the archive. */
  rowOf(number: number): number | undefined {
    return this.#byNumber.get(number);
  }

  get rows(): FrameTable {
    return this.#rows;
  }

  /** Which of the given files a frame is in, from 0, and where. */
  placeOf(row: number): { readonly file: number; readonly offset: number } {
    return { file: this.#files[row]!, offset: this.#offsets[row]! };
  }
}
