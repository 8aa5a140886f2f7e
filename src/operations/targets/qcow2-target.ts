import { open } from 'node:fs/promises';
import { type QemuNbd, runQemuTool, startQemuNbd, whenListening } from '../qemu-tools.js';
import { openNbdTarget } from './nbd-target.js';
import { createPartial, discard, type NewFile, planNewFile, publish } from './new-file.js';
import type { RestoreTarget } from './restore-target.js';

/** A new qcow2 image, written through `qemu-nbd`; what is not written stays unallocated. */
export async function openQcow2Target(
  path: string,
  size: number,
  force: boolean,
  signal?: AbortSignal,
): Promise<RestoreTarget> {
  const file = await planNewFile(path, force);
  try {
    // Made here first, for its mode: a guest's disk is nobody else's business, whatever the umask says.
    await (await createPartial(file)).close();
    await runQemuTool('qemu-img', ['create', '-q', '-f', 'qcow2', file.partialPath, String(size)]);
    const args = ['-f', 'qcow2', '--discard=unmap', '--cache=writeback'];
    const server = await startQemuNbd({ image: file.partialPath, args, lifetime: 'first-client' });
    try {
      const target = await whenListening(() => openNbdTarget(server.uri, size, { zeroed: true, signal }));
      return new Qcow2Target(file, server, target);
    } catch (error) {
      await server.stop({ now: true });
      throw error;
    }
  } catch (error) {
    await discard(file);
    throw error;
  }
}

class Qcow2Target implements RestoreTarget {
  readonly description: string;
  readonly zeroed = true;
  readonly #file: NewFile;
  readonly #server: QemuNbd;
  readonly #target: RestoreTarget;

  constructor(file: NewFile, server: QemuNbd, target: RestoreTarget) {
    this.#file = file;
    this.#server = server;
    this.#target = target;
    this.description = file.path;
  }

  write(offset: number, bytes: Uint8Array): Promise<void> {
    return this.#target.write(offset, bytes);
  }

  /** A cluster that was never written reads as zero. */
  async zero(): Promise<void> {}

  async finish(): Promise<void> {
    await this.#target.finish();
    await this.#server.stop();
    const handle = await open(this.#file.partialPath, 'r+');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
    await publish(this.#file);
  }

  async abort(): Promise<void> {
    try {
      await this.#target.abort();
      await this.#server.stop({ now: true });
    } finally {
      await discard(this.#file);
    }
  }
}
