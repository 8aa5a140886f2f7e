import type { VolumeReader } from '#nbdelta/archive/v1/volume-files.js';
import type { VolumeSink } from '#nbdelta/archive/v1/volume-writer.js';
import { StorageError } from '#nbdelta/errors.js';

/** Volumes in memory: what the writer is given and the reader reads. */
export class MemoryVolumes {
  readonly files: Buffer[] = [];
  readonly closed: number[] = [];
  readonly aborted: number[] = [];

  readonly openVolume = async (volume: number): Promise<VolumeSink> => {
    const chunks: Uint8Array[] = [];
    return {
      append: async given => {
        // As a file would: the bytes are taken when the write happens, not when it was asked for.
        await new Promise(resolve => setImmediate(resolve));
        for (const chunk of given) chunks.push(Uint8Array.from(chunk));
      },
      close: async () => {
        this.files[volume - 1] = Buffer.concat(chunks);
        this.closed.push(volume);
      },
      abort: async () => {
        this.aborted.push(volume);
      },
    };
  };

  readonly readVolume = async (volume: number): Promise<VolumeReader> => openBuffer(this.files[volume - 1]!);
}

/** A volume that is a buffer. */
export function openBuffer(file: Buffer): VolumeReader {
  return {
    size: file.length,
    read: async (offset, into) => {
      const bytes = file.subarray(offset, offset + into.length);
      if (offset < 0 || bytes.length !== into.length) throw new StorageError(`short read at ${offset}`);
      into.set(bytes);
    },
    close: async () => undefined,
  };
}
