import { lstat, mkdir, readdir, readFile, readlink, symlink, writeFile } from 'node:fs/promises';
import { pack } from 'tar-stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { TarExtraction } from '#nbdelta/operations/files/extract-tar.js';
import { runOk } from '../../../support/processes.js';
import { type TempFolder, tempFolder } from '../../../support/temp-folder.js';

type Member = Parameters<ReturnType<typeof pack>['entry']>[0];

/** A tar that no honest tar program would make. */
async function makeTar(
  ...members: readonly (readonly [header: Member, content?: string])[]
): Promise<Buffer> {
  const archive = pack();
  for (const [header, content] of members) archive.entry(header, content ?? '');
  archive.finalize();
  const pieces: Buffer[] = [];
  for await (const piece of archive) pieces.push(piece as Buffer);
  return Buffer.concat(pieces);
}

describe('a tar from a guest', () => {
  let folder: TempFolder;
  let inside: string;

  beforeEach(async () => {
    folder = await tempFolder();
    inside = folder.file('inside');
    await mkdir(inside);
    await writeFile(folder.file('secret'), 'secret');
  });
  afterEach(() => folder[Symbol.asyncDispose]());

  async function unpack(tar: Buffer, size = 1000) {
    const extraction = new TarExtraction(inside);
    try {
      for (let at = 0; at < tar.length; at += size) await extraction.write(tar.subarray(at, at + size));
      return await extraction.end();
    } catch (error) {
      await extraction.abandon();
      throw error;
    }
  }

  /** Nothing but what was there before. */
  async function expectUntouched() {
    expect((await readdir(folder.path)).sort()).toEqual(['inside', 'secret']);
    expect(await readFile(folder.file('secret'), 'utf8')).toBe('secret');
  }

  it('of GNU tar comes out as it was, names of any bytes and of any length too', async () => {
    const source = folder.file('source');
    const long = `${'d'.repeat(120)}/${'f'.repeat(120)}`;
    await mkdir(`${source}/a/${'d'.repeat(120)}`, { recursive: true });
    await writeFile(`${source}/a/${long}`, 'x'.repeat(100_000), { mode: 0o640 });
    await writeFile(Buffer.from(`${source}/\xe4\xff\n`, 'latin1'), 'bytes');
    await writeFile(`${source}/-ä "'`, 'utf8', { mode: 0o4755 });
    await symlink('/etc/passwd', `${source}/a/link`);
    await runOk('ln', [`${source}/a/${long}`, `${source}/z-again`]);
    await runOk('mkfifo', [`${source}/fifo`]);
    await runOk('chmod', ['550', `${source}/a`]);
    await runOk('touch', ['-d', '2020-02-29T12:34:56.789Z', `${source}/a/${long}`]);
    await runOk('tar', ['-C', source, '--sort=name', '-cf', folder.file('tar'), '.']);
    const copied = await unpack(await readFile(folder.file('tar')));
    expect(copied).toEqual({ files: 3, folders: 2, links: 2, skipped: 1, bytes: 100_009 });
    await runOk('rm', [`${source}/fifo`]);
    await runOk('diff', ['-r', '--no-dereference', source, inside]);
    expect((await lstat(`${inside}/a/${long}`)).mode & 0o7777).toBe(0o640);
    expect((await lstat(`${inside}/a`)).mode & 0o7777).toBe(0o550);
    expect((await lstat(`${inside}/-ä "'`)).mode & 0o7777, 'set-id bits stay behind').toBe(0o755);
    expect((await lstat(`${inside}/z-again`)).nlink).toBe(2);
    // GNU tar's headers have whole seconds.
    const seconds = async (path: string) => Math.floor((await lstat(path)).mtimeMs / 1000);
    expect(await seconds(`${inside}/a/${long}`)).toBe(await seconds(`${source}/a/${long}`));
    await runOk('chmod', ['-R', 'u+w', source, inside]);
  });

  it.each(['../out', 'a/../../out', '/../out'])('does not lead out: %s', async name => {
    const refused = { code: 'TARGET_INVALID', message: expect.stringContaining('leads out of its folder') };
    await expect(unpack(await makeTar([{ name }, 'x']))).rejects.toMatchObject(refused);
    await expectUntouched();
  });

  it('has absolute names below the folder', async () => {
    await unpack(await makeTar([{ name: '/etc/x' }, 'x']));
    expect(await readFile(`${inside}/etc/x`, 'utf8')).toBe('x');
    await expectUntouched();
  });

  it('does not write through a link that it made', async () => {
    const tar = await makeTar(
      [{ name: 'l', type: 'symlink', linkname: '..' }],
      [{ name: 'l/secret' }, 'overwritten'],
    );
    await expect(unpack(tar)).rejects.toMatchObject({ code: 'TARGET_INVALID' });
    await expectUntouched();
  });

  it('does not write to a file through a link of its name', async () => {
    const tar = await makeTar(
      [{ name: 'l', type: 'symlink', linkname: '../secret' }],
      [{ name: 'l' }, 'overwritten'],
    );
    await expect(unpack(tar)).rejects.toMatchObject({ code: 'TARGET_INVALID' });
    await expectUntouched();
  });

  it.each(['l/secret', '../secret', 'nowhere/secret'])(
    'has no hard link to the outside: %s',
    async linkname => {
      const tar = await makeTar(
        [{ name: 'l', type: 'symlink', linkname: '..' }],
        [{ name: 'hard', type: 'link', linkname }],
      );
      await expect(unpack(tar)).rejects.toMatchObject({ code: 'TARGET_INVALID' });
      expect((await lstat(folder.file('secret'))).nlink).toBe(1);
      await expectUntouched();
    },
  );

  it('keeps links as they are, wherever they lead', async () => {
    await unpack(await makeTar([{ name: 'd/l', type: 'symlink', linkname: '../../secret' }]));
    expect(await readlink(`${inside}/d/l`)).toBe('../../secret');
  });

  it('that ends too early is an error', async () => {
    const tar = await makeTar([{ name: 'a' }, 'x'.repeat(5000)]);
    await expect(unpack(tar.subarray(0, 3000))).rejects.toThrow();
  });

  it('is the same in pieces of any size', async () => {
    const tar = await makeTar([{ name: 'a' }, 'x'.repeat(700)], [{ name: 'b/', type: 'directory' }]);
    expect(await unpack(tar, 7)).toMatchObject({ files: 1, folders: 1, bytes: 700 });
  });
});
