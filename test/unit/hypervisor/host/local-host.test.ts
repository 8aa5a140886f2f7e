import { execFileSync } from 'node:child_process';
import { chmod, mkdir, readdir, stat, symlink, writeFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { LocalHost } from '#nbdelta/hypervisor/host/local-host.js';
import { tempFolder } from '../../../support/temp-folder.js';

const host = new LocalHost();
const isRoot = process.geteuid?.() === 0;

describe('LocalHost folders', () => {
  it('makes a private folder below a base that it makes too', async () => {
    await using folder = await tempFolder();
    const path = await host.makePrivateFolder(folder.file('a', 'b'), 'run', undefined);
    expect(path).toBe(folder.file('a', 'b', 'run'));
    expect((await stat(path)).mode & 0o777).toBe(0o700);
    expect((await stat(folder.file('a', 'b'))).mode & 0o777).toBe(0o711);
  });

  it('refuses a folder that is there already', async () => {
    await using folder = await tempFolder();
    await host.makePrivateFolder(folder.path, 'run', undefined);
    await expect(host.makePrivateFolder(folder.path, 'run', undefined)).rejects.toMatchObject({
      code: 'HYPERVISOR_FAILED',
    });
  });

  it('refuses a base that others may write to, and takes a sticky one', async () => {
    await using folder = await tempFolder();
    await mkdir(folder.file('open'));
    await chmod(folder.file('open'), 0o777);
    const made = host.makePrivateFolder(folder.file('open'), 'run', undefined);
    await expect(made).rejects.toMatchObject({ code: 'HYPERVISOR_DENIED' });
    expect(await readdir(folder.file('open'))).toEqual([]);
    await chmod(folder.file('open'), 0o1777);
    await host.makePrivateFolder(folder.file('open'), 'run', undefined);
  });

  it.skipIf(!isRoot)("gives the folder to QEMU's user", async () => {
    await using folder = await tempFolder();
    const path = await host.makePrivateFolder(folder.path, 'run', { uid: 64055, gid: 108 });
    expect(await stat(path)).toMatchObject({ uid: 64055, gid: 108 });
  });

  it('removes a folder with its files, twice, and never follows a link', async () => {
    await using folder = await tempFolder();
    const path = await host.makePrivateFolder(folder.path, 'run', undefined);
    await mkdir(folder.file('other'));
    await writeFile(folder.file('other', 'kept'), '');
    await writeFile(`${path}/s`, '');
    await symlink(folder.file('other'), `${path}/link`);
    await host.removeFolder(path);
    await host.removeFolder(path);
    expect(await readdir(folder.path)).toEqual(['other']);
    expect(await readdir(folder.file('other'))).toEqual(['kept']);
  });
});

describe('LocalHost, where others may put things', () => {
  it('empties no folder that a link called like a run leads to', async () => {
    await using folder = await tempFolder();
    await mkdir(folder.file('other'));
    await writeFile(folder.file('other', 'kept'), '');
    await symlink(folder.file('other'), folder.file('run'));
    await expect(host.removeFolder(folder.file('run'))).rejects.toMatchObject({ code: 'HYPERVISOR_DENIED' });
    expect(await readdir(folder.file('other'))).toEqual(['kept']);
  });

  it('removes no file in the place of a folder', async () => {
    await using folder = await tempFolder();
    await writeFile(folder.file('run'), '');
    await expect(host.removeFolder(folder.file('run'))).rejects.toMatchObject({ code: 'HYPERVISOR_DENIED' });
    expect(await readdir(folder.path)).toEqual(['run']);
  });
});

describe('LocalHost files', () => {
  it('reads a file up to a limit', async () => {
    await using folder = await tempFolder();
    await writeFile(folder.file('f'), 'twelve bytes');
    expect(Buffer.from((await host.readFile(folder.file('f'), 12))!).toString()).toBe('twelve bytes');
    await expect(host.readFile(folder.file('f'), 11)).rejects.toThrow('12 bytes');
    expect(await host.readFile(folder.file('none'), 11)).toBeUndefined();
  });

  it('does not wait for a FIFO', async () => {
    await using folder = await tempFolder();
    execFileSync('mkfifo', [folder.file('fifo')]);
    await expect(host.readFile(folder.file('fifo'), 11)).rejects.toThrow('not a regular file');
  });

  it('tells whether a removed file was there', async () => {
    await using folder = await tempFolder();
    await writeFile(folder.file('f'), '');
    expect(await host.removeFile(folder.file('f'))).toBe(true);
    expect(await host.removeFile(folder.file('f'))).toBe(false);
    expect(await host.exists(folder.file('f'))).toBe(false);
  });

  it('tells free bytes, and lists nothing where nothing is', async () => {
    await using folder = await tempFolder();
    expect(await host.freeBytes(folder.path)).toBeGreaterThan(0);
    await expect(host.freeBytes(folder.file('none'))).rejects.toMatchObject({ code: 'HYPERVISOR_FAILED' });
    expect(await host.listFolder(folder.file('none'))).toEqual([]);
  });
});
