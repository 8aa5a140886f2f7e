import * as fs from 'node:fs/promises';
import { afterEach, expect, test, vi } from 'vitest';
import { LocalBackend } from '#nbdelta/repository/local-backend.js';
import { tempFolder } from '../../support/temp-folder.js';

const vanished = vi.hoisted(() => ({ armed: false }));

vi.mock('node:fs/promises', async original => {
  const real = await original<typeof fs>();
  // As Node does where a file system has no types in its folders, and an entry is gone before it is looked at.
  const readdir = async (path: string, options?: { withFileTypes?: boolean }) => {
    if (vanished.armed && options?.withFileTypes)
      throw Object.assign(new Error('gone'), { code: 'ENOENT', errno: -2, syscall: 'lstat' });
    return await real.readdir(path, options as never);
  };
  return { ...real, readdir };
});

afterEach(() => {
  vanished.armed = false;
});

test('an entry that vanishes during the listing does not make the folder look empty', async () => {
  await using folder = await tempFolder();
  await fs.mkdir(folder.file('machine', 'point'), { recursive: true });
  await fs.writeFile(folder.file('machine', 'machine.json'), '{}');
  await fs.symlink('point', folder.file('machine', 'link'));
  const backend = new LocalBackend(folder.path);
  const expected = await backend.list('machine', { sizes: true });
  expect(expected.map(({ name, kind }) => `${kind} ${name}`)).toEqual([
    'link link',
    'file machine.json',
    'folder point',
  ]);
  vanished.armed = true;
  expect(await backend.list('machine', { sizes: true })).toEqual(expected);
});
