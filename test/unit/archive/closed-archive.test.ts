/** A read that waited for its turn while the archive was closed must not open the volume again: nobody would close it. */
import { expect, test } from 'vitest';
import { openArchive } from '#nbdelta/archive/v1/archive-reader.js';
import { openBuffer } from './memory-volumes.js';
import { writeArchive } from './tiny-archive.js';

test('a closed archive opens no volume any more', async () => {
  const disk = Buffer.alloc(4096, 7);
  const { volumes } = await writeArchive(disk, [{ kind: 'frame', pieces: [{ offset: 0, length: 4096 }] }]);
  let open = 0;
  const reader = await openArchive({
    volumes: 1,
    readVolume: async volume => {
      open++;
      const opened = openBuffer(volumes.files[volume - 1]!);
      return { size: opened.size, read: opened.read, close: async () => void open-- };
    },
  });
  await reader[Symbol.asyncDispose]();
  await expect(reader.readStored(0, new Uint8Array(reader.frames.storedLengthAt(0)))).rejects.toMatchObject({
    code: 'ABORTED',
  });
  expect(open).toBe(0);
});
