/** Single files out of a point, with the real libguestfs: an appliance takes some 20 s to start without KVM. */
import { createHash } from 'node:crypto';
import { lstat, mkdir, open, readdir, readFile, readlink, symlink, writeFile } from 'node:fs/promises';
import { PassThrough } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { backup, type GuestFiles, openFiles } from '#nbdelta/index.js';
import { startNbdServer } from '#nbdelta/nbd/server/nbd-server.js';
import { RawFileSource } from '#nbdelta/nbd/server/raw-file-source.js';
import { nbdelta } from '../e2e/nbdelta-command.js';
import { describeUnless, missingTools } from '../support/peers.js';
import { runOk } from '../support/processes.js';
import { SeededRandom } from '../support/random.js';
import { type TempFolder, tempFolder } from '../support/temp-folder.js';
import { type GuestfsKernel, guestfsKernel, whyNoGuestfsKernel } from './guestfs-kernel.js';

const MIB = 2 ** 20;
/** It is an emulated machine: everything in it takes long when ours is busy. */
const START_MS = 120_000;
vi.setConfig({ testTimeout: START_MS });

/** Names that mean something to a shell, to guestfish, or to a careless program. */
const MEAN = [
  '-n',
  'a b',
  `it's a "quote" $(id) \\x`,
  'new\nline',
  '; rm -rf |',
  '<<END',
  'ä',
  ':',
  '*',
  '~root',
];

const reason = missingTools(['guestfish', 'mkfs.ext4', 'flock']) ?? whyNoGuestfsKernel();

describeUnless(reason, 'nbdelta files with libguestfs', () => {
  const random = new SeededRandom(11);
  const content = { big: random.bytes(3 * MIB), victim: random.bytes(9 * MIB) };
  let folder: TempFolder;
  let kernel: GuestfsKernel;
  let repository: string;
  let files: GuestFiles;

  beforeAll(async () => {
    folder = await tempFolder();
    kernel = await guestfsKernel();
    for (const [name, value] of Object.entries(kernel.env)) vi.stubEnv(name, value);
    repository = folder.file('repository');
    await backUpFileSystem();
    files = await openFiles({ repository, point: 'data' });
  }, START_MS);

  afterAll(async () => {
    await files?.[Symbol.asyncDispose]();
    await kernel?.[Symbol.asyncDispose]();
    vi.unstubAllEnvs();
    await folder?.[Symbol.asyncDispose]();
  });

  async function backUpFileSystem() {
    const source = folder.file('source');
    await mkdir(`${source}/dir/sub`, { recursive: true });
    await mkdir(`${source}/mean`);
    for (const name of MEAN) await writeFile(`${source}/mean/${name}`, `content of ${name}`);
    await writeFile(Buffer.from(`${source}/dir/\xff`, 'latin1'), 'no UTF-8');
    await writeFile(`${source}/dir/big`, content.big, { mode: 0o640 });
    await writeFile(`${source}/victim`, content.victim);
    await symlink('/etc/passwd', `${source}/dir/absolute`);
    await symlink('dir/big', `${source}/short`);
    await runOk('mkfs.ext4', ['-q', '-L', 'data', '-d', source, folder.file('disk'), '24M']);
    await using disk = await RawFileSource.open(folder.file('disk'));
    const server = await startNbdServer({
      exports: [{ name: 'vda', source: disk }],
      listen: { kind: 'unix', path: folder.file('s') },
    });
    try {
      await backup({ repository, machine: 'data', disks: [{ name: 'vda', uri: server.uri('vda') }] });
    } finally {
      await server.close();
    }
  }

  async function read(path: string): Promise<Buffer> {
    const output = new PassThrough();
    const whole = buffer(output);
    await files.read(path, output);
    output.end();
    return await whole;
  }

  it('lists file systems', async () => {
    expect(await files.fileSystems()).toEqual([
      { device: '/dev/sda', disk: 'vda', type: 'ext4', label: 'data', size: 24 * MIB, mountPoint: null },
    ]);
  });

  it('lists folders, whatever is called how', async () => {
    const mean = await files.list('/mean');
    expect(mean.map(({ name }) => name).sort()).toEqual([...MEAN].sort());
    for (const { kind, size, name } of mean)
      expect({ kind, size }).toEqual({ kind: 'file', size: Buffer.byteLength(`content of ${name}`) });
    const dir = await files.list('/dir');
    expect(dir.map(({ name, kind, target }) => [name, kind, target])).toEqual([
      ['absolute', 'link', '/etc/passwd'],
      ['big', 'file', null],
      ['sub', 'folder', null],
      ['\ufffd', 'file', null],
    ]);
    expect(await files.list('/dir/sub')).toEqual([]);
    expect(await files.list('/dir/big')).toMatchObject([{ name: '/dir/big', mode: 0o640, size: 3 * MIB }]);
  });

  it('prints files, byte for byte', async () => {
    for (const name of MEAN) expect((await read(`/mean/${name}`)).toString()).toBe(`content of ${name}`);
    expect(digest(await read('/dir/big'))).toBe(digest(content.big));
    expect(digest(await read('/short')), 'through a link').toBe(digest(content.big));
  });

  it('says what is not there, and goes on', async () => {
    const unknown = { code: 'FILE_UNKNOWN', message: expect.stringContaining('No such file or directory') };
    await expect(read('/nope')).rejects.toMatchObject(unknown);
    await expect(files.list('/nope')).rejects.toMatchObject(unknown);
    await expect(read('/dir/absolute'), 'a link of the guest leads nowhere out of it').rejects.toMatchObject(
      unknown,
    );
    await expect(read('/dir')).rejects.toMatchObject({ code: 'USAGE' });
    expect((await read('/mean/:')).toString()).toBe('content of :');
  });

  it('copies a file and a folder, and replaces nothing', async () => {
    const to = folder.file('to');
    await mkdir(to);
    expect(await files.copy('/dir/big', to)).toMatchObject({ target: `${to}/big`, files: 1, bytes: 3 * MIB });
    expect(digest(await readFile(`${to}/big`))).toBe(digest(content.big));
    expect((await lstat(`${to}/big`)).mode & 0o777).toBe(0o640);
    expect(await files.copy('/dir', to)).toMatchObject({ files: 2, folders: 1, links: 1 });
    await runOk('diff', ['-r', '--no-dereference', folder.file('source', 'dir'), `${to}/dir`]);
    expect(await readlink(`${to}/dir/absolute`)).toBe('/etc/passwd');
    expect(await files.copy('/mean', `${to}/other`)).toMatchObject({
      target: `${to}/other`,
      files: MEAN.length,
    });
    for (const path of ['/dir', '/dir/big'])
      await expect(files.copy(path, to)).rejects.toMatchObject({ code: 'TARGET_EXISTS' });
    expect((await readdir(to)).sort()).toEqual(['big', 'dir', 'other']);
  });

  it('never gives other bytes than were stored', async () => {
    const [point] = (await readdir(`${repository}/data`)).filter(name => /^\d{8}T/.test(name));
    const volume = `${repository}/data/${point}/vda.0001.tar`;
    // Random bytes are stored as they are: so they can be found.
    const at = (await readFile(volume)).indexOf(content.victim.subarray(5 * MIB, 5 * MIB + 64));
    expect(at).toBeGreaterThan(0);
    const file = await open(volume, 'r+');
    await file.write(Buffer.alloc(16, 0x5a), 0, 16, at);
    await file.close();
    await expect(read('/victim').then(digest)).rejects.toMatchObject({ code: 'DATA_DAMAGED' });
  });

  it('as a command', async () => {
    const name = MEAN[2]!;
    const args = ['files', 'data', 'cat', `/mean/${name}`, '--repo', repository, '--device', '/dev/sda'];
    const { code, stdout, stderr } = await nbdelta(args, { timeoutMs: START_MS });
    expect({ code, stdout }, stderr).toEqual({ code: 0, stdout: `content of ${name}` });
  });
});

function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
