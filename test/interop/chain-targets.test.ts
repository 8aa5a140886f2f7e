/** Where a point is restored to: nothing of the target's old content may shine through, and no target is harmed. */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import {
  chmod,
  chown,
  mkdir,
  open,
  readdir,
  readFile,
  stat,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { restore } from '#nbdelta/index.js';
import { nbdcopy } from '../support/nbd-tools.js';
import { startNbdkit } from '../support/nbdkit.js';
import { describeWith } from '../support/peers.js';
import { run, runOk } from '../support/processes.js';
import { findProgram } from '../support/programs.js';
import { startQemuNbd } from '../support/qemu-nbd.js';
import { codeOf, expectSameBytes, restoreIndependently, restoreStream } from '../support/restore-check.js';
import { type TempFolder, tempFolder } from '../support/temp-folder.js';
import { backUpGuests, TrackedGuest } from '../support/tracked-guest.js';

const MIB = 2 ** 20;

let folder: TempFolder;
/** Machine's name → what its newest point holds. */
const contents = new Map<string, Buffer>();
const repository = () => folder.file('repo');

/** Data, holes, zeroed ranges and an incremental on top. */
async function keep(machine: string, size: number): Promise<void> {
  const guest = new TrackedGuest(size);
  const at = (share: number) => Math.floor(size * share);
  guest.write(at(0.1), randomBytes(at(0.5)));
  if (size > 0) guest.write(size - 1, Buffer.of(7));
  await backUpGuests(folder, { vda: guest }, { machine, level: 'full' });
  guest.zero(at(0.2), at(0.13));
  guest.write(at(0.7), randomBytes(at(0.01)));
  await backUpGuests(folder, { vda: guest }, { machine, level: 'incremental' });
  contents.set(machine, Buffer.from(guest.content));
}

const SIZES = [0, 1, 511, 512, 513, 4095, 65_537, 3 * MIB + 777];

beforeAll(async () => {
  folder = await tempFolder();
  for (const size of SIZES) await keep(`m${size}`, size);
});
afterAll(() => folder[Symbol.asyncDispose]());

const BIG = `m${3 * MIB + 777}`;

describeWith(['qemu-img', 'qemu-nbd', 'python3', 'zstd', 'tar'], 'files', () => {
  it.each(SIZES)(
    'a disk of %i bytes comes back as a raw file, a stream and by the independent script',
    async size => {
      const expected = contents.get(`m${size}`)!;
      const to = folder.file(`raw-${size}`);
      const { disks, point } = await restore({
        repository: repository(),
        point: `m${size}`,
        disk: 'vda',
        to,
      });
      expect(disks).toMatchObject([{ disk: 'vda', target: to, size }]);
      expect(disks[0]!.chain).toHaveLength(2);
      expectSameBytes(await readFile(to), expected, to);
      expectSameBytes(await restoreStream(repository(), `m${size}`), expected, 'stream');
      expectSameBytes(await restoreIndependently(repository(), `m${size}@${point}`), expected, 'script');
    },
  );

  it.each(SIZES)('a disk of %i bytes comes back as qcow2, which rounds its size up to 512', async size => {
    const expected = contents.get(`m${size}`)!;
    const to = folder.file(`disk-${size}.qcow2`);
    await restore({ repository: repository(), point: `m${size}`, disk: 'vda', to });
    const raw = folder.file(`from-qcow2-${size}`);
    await runOk('qemu-img', ['convert', '-O', 'raw', to, raw]);
    const bytes = await readFile(raw);
    expect(bytes.length).toBe(Math.ceil(size / 512) * 512);
    expectSameBytes(bytes.subarray(0, size), expected, to);
    expect(bytes.subarray(size).every(byte => byte === 0)).toBe(true);
    await runOk('qemu-img', ['check', to]);
  });

  it('restores all disks into a folder', async () => {
    const to = folder.file('new', 'folder');
    await restore({ repository: repository(), point: BIG, to });
    expectSameBytes(await readFile(`${to}/vda.raw`), contents.get(BIG)!, to);
  });

  it('leaves holes where the disk is zero', async () => {
    const to = folder.file('sparse');
    await restore({ repository: repository(), point: BIG, disk: 'vda', to });
    const { blocks, size } = await stat(to);
    expect(blocks * 512).toBeLessThan(size * 0.75);
  });

  it('does not touch an existing file without force; with it, owner and mode stay', async () => {
    const to = folder.file('existing');
    const old = Buffer.alloc(8 * MIB, 0xff);
    await writeFile(to, old);
    await chmod(to, 0o640);
    if (process.getuid?.() === 0) await chown(to, 1234, 2345);
    const options = { repository: repository(), point: BIG, disk: 'vda', to };
    expect(await codeOf(restore(options))).toBe('TARGET_EXISTS');
    expectSameBytes(await readFile(to), old, 'untouched');
    await restore({ ...options, force: true });
    expectSameBytes(await readFile(to), contents.get(BIG)!, to);
    const { mode, uid, gid } = await stat(to);
    expect(mode & 0o777).toBe(0o640);
    if (process.getuid?.() === 0) expect([uid, gid]).toEqual([1234, 2345]);
  });

  it('replaces what a symbolic link points to, not the link; a link to nowhere is no target', async () => {
    await writeFile(folder.file('linked'), 'old');
    await symlink('linked', folder.file('link'));
    const options = { repository: repository(), point: BIG, disk: 'vda', force: true };
    await restore({ ...options, to: folder.file('link') });
    expectSameBytes(await readFile(folder.file('linked')), contents.get(BIG)!, 'linked');
    await symlink('nowhere', folder.file('dangling'));
    expect(await codeOf(restore({ ...options, to: folder.file('dangling') }))).toBe('TARGET_INVALID');
  });

  it('says what is no target', async () => {
    const options = { repository: repository(), point: BIG, disk: 'vda' };
    await mkdir(folder.file('a-folder'));
    expect(await codeOf(restore({ ...options, to: folder.file('a-folder') }))).toBe('TARGET_INVALID');
    expect(await codeOf(restore({ ...options, to: folder.file('no', 'such', 'file') }))).toBe(
      'TARGET_INVALID',
    );
    expect(await codeOf(restore({ ...options, to: '/dev/null' }))).toBe('TARGET_INVALID');
    expect(await codeOf(restore({ ...options, to: '-' }))).toBe('USAGE');
  });

  it('leaves nothing behind when it is stopped', async () => {
    await using own = await tempFolder();
    for (const to of ['stopped.raw', 'stopped.qcow2']) {
      const stop = new AbortController();
      const restoring = restore({
        repository: repository(),
        ...{ point: BIG, disk: 'vda', to: own.file(to), signal: stop.signal, onProgress: () => stop.abort() },
      });
      expect(await codeOf(restoring)).toBe('ABORTED');
    }
    expect(await readdir(own.path)).toEqual([]);
  });

  it('says what went wrong, not how qemu-nbd ended, when that dies during a restore to qcow2', async () => {
    await using own = await tempFolder();
    let killed = 0;
    const onProgress = () => {
      for (const pid of killed === 0 ? childrenCalled('qemu-nbd') : [])
        killed += Number(process.kill(pid, 'SIGKILL'));
    };
    const to = own.file('killed.qcow2');
    const restoring = restore({ repository: repository(), point: BIG, disk: 'vda', to, onProgress });
    expect(await codeOf(restoring)).toMatch(/^NBD_CON/);
    expect(killed).toBe(1);
    expect(await readdir(own.path)).toEqual([]);
  });
});

/** Processes that this one started. */
function childrenCalled(name: string): number[] {
  const children = readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, 'latin1').split(' ');
  return children
    .filter(pid => pid !== '')
    .filter(pid => readFileSync(`/proc/${pid}/comm`, 'latin1').trim() === name)
    .map(Number);
}

describeWith(['nbdkit', 'nbdcopy', 'qemu-nbd'], 'NBD exports', () => {
  /** A raw file full of old content, served writable. */
  async function oldContent(name: string, size: number): Promise<string> {
    const path = folder.file(name);
    await writeFile(path, Buffer.alloc(size, 0xff));
    return path;
  }

  it.each(SIZES.filter(size => size > 0))(
    'qemu-nbd with old content takes a disk of %i bytes',
    async size => {
      const rounded = Math.ceil(size / 512) * 512;
      const image = await oldContent(`qemu-${size}`, rounded);
      await using server = await startQemuNbd({ image, format: 'raw', readOnly: false });
      await restore({ repository: repository(), point: `m${size}`, disk: 'vda', to: server.uri });
      await server.process.stop();
      expectSameBytes((await readFile(image)).subarray(0, size), contents.get(`m${size}`)!, image);
    },
  );

  it.each([
    ['a larger export', 5 * MIB, []],
    ['no write zeroes', 3 * MIB + 777, ['nozero', 'zeromode=none']],
    [
      'requests of 4096 bytes only',
      4 * MIB,
      ['blocksize-policy', 'blocksize-minimum=4096', 'blocksize-error-policy=error'],
    ],
    [
      'requests of 64 KiB only',
      4 * MIB,
      [
        'blocksize-policy',
        'blocksize-minimum=65536',
        'blocksize-preferred=65536',
        'blocksize-error-policy=error',
      ],
    ],
    [
      'no more than 64 KiB at once',
      4 * MIB,
      ['blocksize-policy', 'blocksize-maximum=65536', 'blocksize-error-policy=error'],
    ],
    ['no flush, no multi-conn', 4 * MIB, ['noparallel', 'serialize=connections']],
  ] as const)('nbdkit with %s, on old content', async (_, size, [filter, ...parameters]) => {
    const image = await oldContent(`nbdkit-${parameters.join()}-${size}`, size);
    await using server = await startNbdkit({
      plugin: ['file', image, ...parameters],
      ...(filter !== undefined && { filters: [filter] }),
    });
    const result = await restore({ repository: repository(), point: BIG, disk: 'vda', to: server.uri });
    const expected = contents.get(BIG)!;
    expect(result.disks[0]).toMatchObject({ beyond: size - expected.length });
    expectSameBytes((await readFile(image)).subarray(0, expected.length), expected, image);
  });

  it('nbdkit memory', async () => {
    await using server = await startNbdkit({ plugin: ['memory', '4M'] });
    await restore({ repository: repository(), point: BIG, disk: 'vda', to: server.uri });
    await nbdcopy(server.uri, folder.file('memory.raw'));
    const expected = contents.get(BIG)!;
    expectSameBytes(
      (await readFile(folder.file('memory.raw'))).subarray(0, expected.length),
      expected,
      'memory',
    );
  });

  it('refuses a read-only one and one that is too small, and harms neither', async () => {
    const image = await oldContent('readonly', 4 * MIB);
    await using readOnly = await startQemuNbd({ image, format: 'raw', readOnly: true });
    await using small = await startNbdkit({ plugin: ['memory', '3M'] });
    for (const to of [readOnly.uri, small.uri]) {
      const refused = restore({ repository: repository(), point: BIG, disk: 'vda', to, force: true });
      expect(await codeOf(refused)).toBe('TARGET_INVALID');
    }
    expect((await readFile(image)).every(byte => byte === 0xff)).toBe(true);
    await nbdcopy(small.uri, folder.file('small.raw'));
    expect((await readFile(folder.file('small.raw'))).every(byte => byte === 0)).toBe(true);
  });

  it('says when the export cannot be written', async () => {
    await using server = await startNbdkit({
      plugin: ['memory', '4M', 'error-pwrite=ENOSPC', 'error-pwrite-rate=100%'],
      filters: ['error'],
    });
    const failed = restore({ repository: repository(), point: BIG, disk: 'vda', to: server.uri });
    expect(await codeOf(failed)).toBe('NBD_COMMAND_FAILED');
  });
});

/** A loop device on a file full of old content, or undefined where this process may make none. */
async function attachLoop(path: string): Promise<string | undefined> {
  if (process.getuid?.() !== 0 || findProgram('losetup') === undefined) return undefined;
  const { code, stdout } = await run('losetup', ['--find', '--show', path]);
  return code === 0 ? stdout.trim() : undefined;
}

describe('block devices', () => {
  it('overwrites all of a device, only with force, and only when the disk fits', async context => {
    const path = folder.file('loop');
    await writeFile(path, Buffer.alloc(4 * MIB, 0xff));
    const device = await attachLoop(path);
    if (device === undefined) context.skip('loop devices need root and losetup');
    try {
      const options = { repository: repository(), point: BIG, disk: 'vda', to: device! };
      expect(await codeOf(restore(options))).toBe('TARGET_EXISTS');
      expect((await readFile(path)).every(byte => byte === 0xff)).toBe(true);
      await restore({ ...options, force: true });
      const expected = contents.get(BIG)!;
      const bytes = await readFile(device!);
      expect(bytes.length).toBe(4 * MIB);
      expectSameBytes(bytes.subarray(0, expected.length), expected, device!);
      await truncate(path, MIB);
      await runOk('losetup', ['--set-capacity', device!]);
      expect(await codeOf(restore({ ...options, force: true }))).toBe('TARGET_INVALID');
    } finally {
      await runOk('losetup', ['--detach', device!]);
    }
  });

  it('refuses a device that is mounted', async context => {
    const path = folder.file('mounted');
    const handle = await open(path, 'w');
    await handle.truncate(16 * MIB);
    await handle.close();
    const device = await attachLoop(path);
    if (device === undefined) context.skip('loop devices need root and losetup');
    const mount = folder.file('mount');
    try {
      await mkdir(mount);
      if ((await run('mkfs.ext4', ['-q', device!]).catch(() => ({ code: 1 }))).code !== 0) {
        context.skip('mkfs.ext4 is not installed');
      }
      if ((await run('mount', [device!, mount])).code !== 0) context.skip('mounting is not allowed');
      try {
        const options = { repository: repository(), point: BIG, disk: 'vda', to: device!, force: true };
        expect(await codeOf(restore(options))).toBe('TARGET_INVALID');
      } finally {
        await runOk('umount', [mount]);
      }
    } finally {
      await runOk('losetup', ['--detach', device!]);
    }
  });
});
