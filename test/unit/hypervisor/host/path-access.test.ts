import { chmod, mkdir, symlink } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { LocalHost } from '#nbdelta/hypervisor/host/local-host.js';
import {
  findBarrier,
  firstClosed,
  maySearch,
  mayWrite,
  parseEntries,
  pathsTo,
  walkPath,
} from '#nbdelta/hypervisor/host/path-access.js';
import { tempFolder } from '../../../support/temp-folder.js';

const QEMU = { uid: 64055, gids: [108, 64055] };
const entry = (mode: number, uid = 0, gid = 0) => ({ path: '/x', mode, uid, gid });

describe('a path', () => {
  it.each([
    ['/', ['/']],
    ['/a/b', ['/', '/a', '/a/b']],
    ['/a//b/', ['/', '/a', '/a/b']],
  ])('%s has parents', (path, expected) => {
    expect(pathsTo(path)).toEqual(expected);
  });

  it('is read from what stat prints, spaces and all', () => {
    expect(parseEntries('755 0 0 /\n1777 0 0 /a b\nnonsense\n')).toEqual([
      { path: '/', mode: 0o755, uid: 0, gid: 0 },
      { path: '/a b', mode: 0o1777, uid: 0, gid: 0 },
    ]);
  });
});

describe('permission bits', () => {
  it.each([
    ['others may', entry(0o711), true],
    ['others may not', entry(0o700), false],
    ['the group may', entry(0o710, 0, 108), true],
    ['a further group may', entry(0o710, 0, 64055), true],
    ['the owner may', entry(0o700, 64055), true],
    // The first class that fits decides.
    ['the owner may not, though others may', entry(0o077, 64055), false],
    ['the group may not, though others may', entry(0o701, 0, 108), false],
  ])('to search: %s', (_name, folder, expected) => {
    expect(maySearch(QEMU, folder)).toBe(expected);
  });

  it('to write need the right to search as well', () => {
    expect(mayWrite(QEMU, entry(0o773))).toBe(true);
    expect(mayWrite(QEMU, entry(0o772))).toBe(false);
    expect(mayWrite(QEMU, entry(0o771))).toBe(false);
  });

  it('do not stop root', () => {
    expect(mayWrite({ uid: 0, gids: [0] }, entry(0o000, 5, 5))).toBe(true);
  });

  it('name the first folder that is closed', () => {
    const entries = parseEntries('755 0 0 /\n700 0 0 /a\n700 0 0 /a/b\n');
    expect(firstClosed(QEMU, { path: '/a/b', entries, isThere: true })?.path).toBe('/a');
  });
});

describe('walking on this machine', () => {
  it('follows links, and says when the end is not there yet', async () => {
    await using folder = await tempFolder();
    await mkdir(folder.file('real'));
    await symlink(folder.file('real'), folder.file('link'));
    const walked = await walkPath(new LocalHost(), folder.file('link', 'new', 'deeper'));
    expect(walked).toMatchObject({ path: folder.file('real', 'new', 'deeper'), isThere: false });
    expect(walked.entries.at(-1)?.path).toBe(folder.file('real'));
    expect(await walkPath(new LocalHost(), folder.file('link'))).toMatchObject({ isThere: true });
  });

  it('finds the folder that keeps another user out', async () => {
    await using folder = await tempFolder();
    await mkdir(folder.file('closed', 'inner'), { recursive: true });
    const nobody = { uid: 65534, gids: [65534] };
    for (const [mode, barrier] of [
      [0o700, folder.file('closed')],
      [0o711, undefined],
    ] as const) {
      await chmod(folder.path, 0o755);
      await chmod(folder.file('closed'), mode);
      const walked = await walkPath(new LocalHost(), folder.file('closed', 'inner'));
      expect((await findBarrier(new LocalHost(), nobody, walked))?.path).toBe(barrier);
    }
  });
});
