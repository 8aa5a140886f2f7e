import { mkdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { makeFolders } from '#nbdelta/process/make-folders.js';
import { tempFolder } from '../../support/temp-folder.js';

describe('folders that are made', () => {
  it('makes what is missing on the way, with the mode, and takes what is there', async () => {
    await using folder = await tempFolder();
    const path = folder.file('a/b/c');
    await makeFolders(path, 0o700);
    await makeFolders(path, 0o700);
    expect((await stat(folder.file('a'))).mode & 0o777).toBe(0o700);
    expect((await stat(path)).isDirectory()).toBe(true);
  });

  it('refuses a file in the way, at the end and in the middle', async () => {
    await using folder = await tempFolder();
    await mkdir(folder.file('a'));
    await writeFile(folder.file('a/file'), '');
    await expect(makeFolders(folder.file('a/file'), 0o700)).rejects.toMatchObject({ code: 'EEXIST' });
    await expect(makeFolders(join(folder.file('a/file'), 'b'), 0o700)).rejects.toMatchObject({
      code: 'ENOTDIR',
    });
  });

  it('comes back where no folder can be made: /proc says ENOENT', async () => {
    await expect(makeFolders('/proc/nbdelta/folder', 0o700)).rejects.toMatchObject({ code: 'ENOENT' });
  });
});
