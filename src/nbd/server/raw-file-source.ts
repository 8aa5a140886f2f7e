import { type FileHandle, open } from 'node:fs/promises';
import { AbortedError, errorLine, StorageError, UsageError } from '../../errors.js';
import { CONTEXT_BASE_ALLOCATION } from '../protocol/constants.js';
import type { BlockSource, StatusExtent } from './block-source.js';

export interface RawFileOptions {
  /**
   * What base:allocation answers: consecutive extents from 0 to the file's end. Node cannot ask a file for its
   * holes, so without this all is data.
   */
  readonly allocation?: readonly StatusExtent[];
}

/** A raw disk image as it lies in a file. The file must keep its size and content while it is served. */
export class RawFileSource implements BlockSource, AsyncDisposable {
  readonly size: number;
  readonly contexts: readonly string[] = [CONTEXT_BASE_ALLOCATION];
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #allocation: readonly StatusExtent[];

  private constructor(path: string, file: FileHandle, size: number, allocation: readonly StatusExtent[]) {
    this.#path = path;
    this.#file = file;
    this.size = size;
    this.#allocation = allocation;
  }

  /**
   * Opens a regular file.
   * @throws StorageError when it cannot be opened, UsageError when it is no regular file or the allocation
   * does not cover it exactly.
   */
  static async open(path: string, options: RawFileOptions = {}): Promise<RawFileSource> {
    const file = await open(path, 'r').catch(cause => {
      throw new StorageError(`cannot open ${path}: ${errorLine(cause)}`, { cause });
    });
    try {
      const found = await file.stat();
      if (!found.isFile()) throw new UsageError(`${path} is not a regular file`);
      const allocation = options.allocation ?? [{ length: found.size, status: 0 }];
      checkAllocation(path, found.size, allocation);
      return new RawFileSource(path, file, found.size, allocation);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  async readInto(offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    let done = 0;
    while (done < target.byteLength) {
      if (signal?.aborted) throw new AbortedError(`read of ${this.#path}`, signal.reason);
      const { bytesRead } = await this.#read(target.subarray(done), offset + done);
      if (bytesRead === 0) {
        // Zeroes here would pass for the disk's content.
        throw new StorageError(`${this.#path} ends at ${offset + done}, expected ${this.size} bytes`, {
          hint: 'the file was cut off while it was served',
        });
      }
      done += bytesRead;
    }
  }

  #read(target: Uint8Array, position: number) {
    return this.#file.read(target, 0, target.byteLength, position).catch(cause => {
      throw new StorageError(`cannot read ${this.#path} at ${position}: ${errorLine(cause)}`, { cause });
    });
  }

  status(_context: string, offset: number, length: number, maxExtents: number): readonly StatusExtent[] {
    const found: StatusExtent[] = [];
    const end = offset + length;
    let at = 0;
    for (const extent of this.#allocation) {
      const start = Math.max(at, offset);
      at += extent.length;
      if (at <= offset) continue;
      if (start >= end || found.length === maxExtents) break;
      found.push({ length: Math.min(at, end) - start, status: extent.status });
    }
    return found;
  }

  /** Closes the file. Call it after the server's close. Safe twice. */
  async close(): Promise<void> {
    await this.#file.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function checkAllocation(path: string, size: number, allocation: readonly StatusExtent[]): void {
  const covered = allocation.reduce((sum, { length }) => sum + length, 0);
  if (covered !== size) throw new UsageError(`allocation covers ${covered} bytes of ${path}, it has ${size}`);
}
