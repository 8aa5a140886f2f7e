import { readdir, readFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { openFileTarget } from '#nbdelta/operations/targets/file-target.js';
import { tempFolder } from '../../support/temp-folder.js';

/** The first one used to publish, as its own, what the second one had only begun to write. */
it('two restores to one place with force: neither publishes the half of the other', async () => {
  await using folder = await tempFolder();
  const path = folder.file('disk.raw');
  const first = await openFileTarget(path, 8192, true);
  await first.write(0, Buffer.alloc(8192, 0x11));
  const second = await openFileTarget(path, 8192, true);
  await second.write(0, Buffer.alloc(4096, 0x22));
  await first.finish();
  expect(await readFile(path)).toEqual(Buffer.alloc(8192, 0x11));
  await second.abort();
  expect(await readFile(path)).toEqual(Buffer.alloc(8192, 0x11));
  expect(await readdir(folder.path)).toEqual(['disk.raw']);
});

it('without force the one that comes second is refused, and leaves the first alone', async () => {
  await using folder = await tempFolder();
  const path = folder.file('disk.raw');
  const first = await openFileTarget(path, 4096, false);
  const second = await openFileTarget(path, 4096, false);
  await first.write(0, Buffer.alloc(4096, 0x11));
  await first.finish();
  await expect(second.finish()).rejects.toMatchObject({ code: 'TARGET_INVALID' });
  await second.abort();
  expect(await readFile(path)).toEqual(Buffer.alloc(4096, 0x11));
  expect(await readdir(folder.path)).toEqual(['disk.raw']);
});
