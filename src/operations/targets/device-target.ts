import { constants, type FileHandle, open } from 'node:fs/promises';
import { TargetError } from '../../errors.js';
import { targetFailed } from './new-file.js';
import type { RestoreTarget } from './restore-target.js';
import { writeFully, zeroFully } from './write-fully.js';

/** A block device: it has old content, so zero ranges are written. It must be at least as large as the disk. */
export async function openDeviceTarget(path: string, size: number): Promise<RestoreTarget> {
  const handle = await openExclusively(path);
  try {
    const capacity = await findEnd(handle);
    if (capacity < size) {
      throw new TargetError('TARGET_INVALID', `${path} has ${capacity} bytes, the disk has ${size}`, {
        hint: 'restore to a larger device',
        fields: { target: path, capacity, size },
      });
    }
    return new DeviceTarget(path, handle, capacity);
  } catch (error) {
    await handle.close();
    throw error instanceof TargetError ? error : targetFailed('measure', path, error);
  }
}

/** O_EXCL on a block device fails while it is mounted or otherwise claimed by the kernel. */
async function openExclusively(path: string): Promise<FileHandle> {
  try {
    return await open(path, constants.O_RDWR | constants.O_EXCL);
  } catch (cause) {
    throw targetFailed('open', path, cause);
  }
}

/** A device's size, which `stat` does not tell: the first byte that cannot be read, by bisection. */
async function findEnd(handle: FileHandle): Promise<number> {
  const probe = Buffer.alloc(1);
  const readable = async (offset: number) => (await handle.read(probe, 0, 1, offset)).bytesRead === 1;
  let low = 0;
  let high = 2 ** 52;
  while (low < high) {
    const middle = low + Math.floor((high - low) / 2);
    if (await readable(middle)) low = middle + 1;
    else high = middle;
  }
  return low;
}

class DeviceTarget implements RestoreTarget {
  readonly description: string;
  readonly zeroed = false;
  readonly capacity: number;
  readonly #handle: FileHandle;

  constructor(path: string, handle: FileHandle, capacity: number) {
    this.description = path;
    this.capacity = capacity;
    this.#handle = handle;
  }

  write(offset: number, bytes: Uint8Array): Promise<void> {
    return writeFully(this.#handle, this.description, offset, bytes);
  }

  zero(offset: number, length: number): Promise<void> {
    return zeroFully(this.#handle, this.description, offset, length);
  }

  async finish(): Promise<void> {
    try {
      await this.#handle.sync();
    } catch (cause) {
      throw targetFailed('sync', this.description, cause);
    }
    await this.#handle.close();
  }

  /** The device is not ours to remove; what was written stays. */
  async abort(): Promise<void> {
    await this.#handle.close();
  }
}
