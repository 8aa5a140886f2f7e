import type { FileHandle } from 'node:fs/promises';
import { MAX_FRAME_RAW, MAX_FRAME_STORED } from '../../archive/v1/format-limits.js';
import type { FramePool } from '../../codec/frame-pool.js';
import { AbortedError, errorLine, NbdeltaError } from '../../errors.js';
import type { Range } from '../../extents/extent-list.js';
import type { VolumeReader } from '../../repository/storage-backend.js';
import { BufferSlots } from '../buffer-slots.js';
import type { ProgressListener } from '../progress.js';
import { writeFully } from '../targets/write-fully.js';
import type { SalvageTables } from './read-tables.js';

const FRAMES_IN_FLIGHT = 8;
const NONE = -1;

export interface LostRange extends Range {
  readonly why: string;
}

export interface WriteSalvagedOptions {
  readonly tables: SalvageTables;
  readonly files: readonly VolumeReader[];
  readonly handle: FileHandle;
  readonly path: string;
  readonly pool: FramePool;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ProgressListener | undefined;
}

export interface Salvaged {
  /** Frames that could be read. */
  readonly good: number;
  /** Bytes of the disk. */
  readonly salvaged: number;
  readonly zero: number;
  /** In the order of the disk. */
  readonly lost: readonly LostRange[];
}

/** Writes what can be read, frame by frame, each decoded once. */
export async function writeSalvaged(options: WriteSalvagedOptions): Promise<Salvaged> {
  return await new SalvageWork(options).run();
}

class SalvageWork {
  readonly #options: WriteSalvagedOptions;
  readonly #heads: Int32Array;
  readonly #next: Int32Array;
  readonly #lost: LostRange[] = [];
  readonly #slots: { readonly stored: BufferSlots; readonly raw: BufferSlots };
  #good = 0;
  #salvaged = 0;
  #zero = 0;

  constructor(options: WriteSalvagedOptions) {
    const { frames, extents } = options.tables;
    this.#options = options;
    this.#heads = new Int32Array(frames.count).fill(NONE);
    this.#next = new Int32Array(extents.count).fill(NONE);
    this.#slots = {
      stored: new BufferSlots(FRAMES_IN_FLIGHT, MAX_FRAME_STORED),
      raw: new BufferSlots(FRAMES_IN_FLIGHT, MAX_FRAME_RAW),
    };
  }

  async run(): Promise<Salvaged> {
    this.#sortExtents();
    const running = new Set<Promise<void>>();
    const failures: unknown[] = [];
    for (let row = 0; row < this.#heads.length && failures.length === 0; row++) {
      if (this.#heads[row] === NONE) continue;
      if (this.#options.signal?.aborted) break;
      const buffers = { stored: await this.#slots.stored.acquire(), raw: await this.#slots.raw.acquire() };
      const work = this.#writeFrame(row, buffers)
        .catch(error => void failures.push(error))
        .finally(() => running.delete(work));
      running.add(work);
    }
    await Promise.all(running);
    if (failures.length > 0) throw failures[0];
    const { signal } = this.#options;
    if (signal?.aborted) throw new AbortedError('salvage', signal.reason);
    const lost = this.#lost.sort((a, b) => a.offset - b.offset);
    return { good: this.#good, salvaged: this.#salvaged, zero: this.#zero, lost };
  }

  /** Hangs each extent on its frame; those of frames that are not known are lost. */
  #sortExtents(): void {
    const { frames, extents } = this.#options.tables;
    for (let index = extents.count - 1; index >= 0; index--) {
      if (extents.isZeroAt(index)) {
        this.#zero += extents.lengthAt(index);
        continue;
      }
      const row = frames.rowOf(extents.frameAt(index));
      const isInside =
        row !== undefined &&
        extents.withinAt(index) + extents.lengthAt(index) <= frames.rows.rawLengthAt(row);
      if (!isInside) {
        this.#lose(index, 'its frame is not there');
        continue;
      }
      this.#next[index] = this.#heads[row]!;
      this.#heads[row] = index;
    }
  }

  #lose(index: number, why: string): void {
    const { extents } = this.#options.tables;
    this.#lost.push({ offset: extents.offsetAt(index), length: extents.lengthAt(index), why });
  }

  async #writeFrame(row: number, buffers: { stored: ArrayBuffer; raw: ArrayBuffer }): Promise<void> {
    const { tables, handle, path, onProgress } = this.#options;
    try {
      const why = await this.#load(row, buffers);
      for (let index = this.#heads[row]!; index !== NONE; index = this.#next[index]!) {
        if (why !== null) {
          this.#lose(index, why);
          continue;
        }
        const length = tables.extents.lengthAt(index);
        const bytes = new Uint8Array(buffers.raw, tables.extents.withinAt(index), length);
        await writeFully(handle, path, tables.extents.offsetAt(index), bytes);
        this.#salvaged += length;
      }
      if (why === null) this.#good++;
      const disk = tables.header?.disk ?? 'disk';
      onProgress?.({ phase: 'data', disk, done: this.#salvaged, total: tables.size - this.#zero });
    } finally {
      this.#slots.stored.release(buffers.stored);
      this.#slots.raw.release(buffers.raw);
    }
  }

  /** `null`, or why the frame is lost. */
  async #load(row: number, buffers: { stored: ArrayBuffer; raw: ArrayBuffer }): Promise<string | null> {
    const { tables, files, pool } = this.#options;
    const { rows } = tables.frames;
    const { file, offset } = tables.frames.placeOf(row);
    const [storedLength, rawLength] = [rows.storedLengthAt(row), rows.rawLengthAt(row)];
    const reader = files[file];
    if (reader === undefined || offset + storedLength > reader.size)
      return 'the file ends before its frame does';
    try {
      await reader.read(offset, new Uint8Array(buffers.stored, 0, storedLength));
    } catch (error) {
      // A sector that cannot be read costs the frames on it.
      if (error instanceof NbdeltaError && error.code === 'STORAGE_FAILED')
        return `it cannot be read: ${errorLine(error)}`;
      throw error;
    }
    const opened = await pool.open({
      ...{ stored: buffers.stored, storedLength, out: buffers.raw, rawLength },
      ...{ digest: rows.digestAt(row), storedDigest: rows.storedDigestAt(row) },
      checkStored: true,
    });
    buffers.stored = opened.stored;
    buffers.raw = opened.out;
    return opened.ok ? null : `the ${opened.check} of its frame does not match`;
  }
}
