import type { FileHandle } from 'node:fs/promises';
import pLimit from 'p-limit';
import { createPartial, discard, type NewFile, planNewFile, publish, targetFailed } from './new-file.js';
import type { RestoreTarget } from './restore-target.js';
import { writeFully } from './write-fully.js';

/** A raw image in a new, sparse file; what is not written stays a hole. */
export async function openFileTarget(path: string, size: number, force: boolean): Promise<RestoreTarget> {
  const file = await planNewFile(path, force);
  const handle = await createPartial(file);
  try {
    await handle.truncate(size);
  } catch (cause) {
    await handle.close();
    await discard(file);
    throw targetFailed('size', file.partialPath, cause);
  }
  return new FileTarget(file, handle);
}

class FileTarget implements RestoreTarget {
  readonly description: string;
  readonly zeroed = true;
  readonly #file: NewFile;
  readonly #handle: FileHandle;
  /**
   * The kernel lets one write at a time into a file. The next one is on its way meanwhile, so that small writes do not
   * wait for a turn of ours each; more would burn a processor while they wait.
   */
  readonly #turn = pLimit(2);

  constructor(file: NewFile, handle: FileHandle) {
    this.#file = file;
    this.#handle = handle;
    this.description = file.path;
  }

  write(offset: number, bytes: Uint8Array): Promise<void> {
    return this.#turn(() => writeFully(this.#handle, this.#file.partialPath, offset, bytes));
  }

  /** A hole in a file that we created reads as zero already. */
  async zero(): Promise<void> {}

  async finish(): Promise<void> {
    try {
      await this.#handle.sync();
    } catch (cause) {
      throw targetFailed('sync', this.#file.partialPath, cause);
    }
    await this.#handle.close();
    await publish(this.#file);
  }

  async abort(): Promise<void> {
    await this.#handle.close();
    await discard(this.#file);
  }
}
