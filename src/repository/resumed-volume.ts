import { constants } from 'node:fs';
import { type FileHandle, open, truncate } from 'node:fs/promises';
import { dirname } from 'node:path';
import { dropFront, LocalVolumeSink, openRegularFile, readFully } from './local-volume.js';
import type { VolumeSink } from './storage-backend.js';
import { withStorageFailure } from './storage-failure.js';

const APPEND = constants.O_WRONLY | constants.O_APPEND | constants.O_NOFOLLOW;
const COMPARED_AT_ONCE = 1 << 20;

/** Goes on with a volume that an interrupted operation left: see `StorageBackend.resumeVolume`. */
export async function resumeLocalVolume(path: string): Promise<VolumeSink> {
  const { handle, size } = await openRegularFile(path);
  try {
    const appender = await open(path, APPEND);
    return new ResumedVolumeSink(path, handle, size, new LocalVolumeSink(path, dirname(path), appender));
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** Compares what is appended with what is there; from the first difference on it writes. */
class ResumedVolumeSink implements VolumeSink {
  readonly #path: string;
  readonly #sink: VolumeSink;
  readonly #scratch = Buffer.allocUnsafe(COMPARED_AT_ONCE);
  #old: FileHandle | null;
  /** Bytes that are there from before, and how many of them were appended again. */
  #size: number;
  #done = 0;
  #tail: Promise<void> = Promise.resolve();

  constructor(path: string, old: FileHandle, size: number, sink: VolumeSink) {
    this.#path = path;
    this.#old = old;
    this.#size = size;
    this.#sink = sink;
  }

  append(chunks: readonly Uint8Array[]): Promise<void> {
    this.#tail = this.#tail.then(async () => {
      const rest = await withStorageFailure('compare', this.#path, () => this.#skipSame(chunks));
      if (rest.length > 0) await this.#sink.append(rest);
    });
    return this.#tail;
  }

  /** What is not in the file yet. */
  async #skipSame(chunks: readonly Uint8Array[]): Promise<readonly Uint8Array[]> {
    let rest = chunks;
    while (this.#done < this.#size && rest.length > 0) {
      const same = await this.#compare(rest[0]!);
      if (same < 0) await this.#cut();
      else rest = dropFront(rest, same);
    }
    return rest;
  }

  /** How many bytes of the chunk are there already; -1: other ones are. */
  async #compare(chunk: Uint8Array): Promise<number> {
    const length = Math.min(chunk.length, this.#size - this.#done, COMPARED_AT_ONCE);
    const there = this.#scratch.subarray(0, length);
    await readFully(this.#old!, this.#path, this.#done, there);
    if (!there.equals(chunk.subarray(0, length))) return -1;
    this.#done += length;
    return length;
  }

  /** Drops what is there and was not appended. */
  async #cut(): Promise<void> {
    await truncate(this.#path, this.#done);
    this.#size = this.#done;
  }

  async close(): Promise<void> {
    await this.#tail;
    if (this.#done < this.#size) await withStorageFailure('truncate', this.#path, () => this.#cut());
    await this.#closeOld();
    await this.#sink.close();
  }

  async abort(): Promise<void> {
    await Promise.allSettled([this.#tail]);
    await this.#closeOld();
    await this.#sink.abort();
  }

  async #closeOld(): Promise<void> {
    const handle = this.#old;
    this.#old = null;
    if (handle !== null) await withStorageFailure('close', this.#path, () => handle.close());
  }
}
