/** Images of a guest that is off: who may open them, what they may be, and what becomes of them in mid-run. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, readFile, rename, symlink, truncate, utimes, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { FrontEndOptions } from '#nbdelta/hypervisor/front-end-options.js';
import { ImageFrontEnd } from '#nbdelta/hypervisor/image/image-front-end.js';
import { endProcess, findServers, type ServerProcess } from '#nbdelta/hypervisor/image/server-processes.js';
import { newRunName } from '#nbdelta/hypervisor/run-name.js';
import type { SessionRecord } from '#nbdelta/hypervisor/session-record.js';
import { parseSource } from '#nbdelta/hypervisor/source.js';
import {
  type BegunSession,
  backupGuest,
  beginSession,
  endSession,
  listSessions,
  recover,
} from '#nbdelta/index.js';
import { filesIn } from '../conformance/left-files.js';
import { createEncrypted } from '../support/encrypted-image.js';
import { beginRequest, keptJournal, TEST_OWNER } from '../support/front-end-requests.js';
import { startImageUser } from '../support/image-guest.js';
import { nbdcopy, nbdinfoMap } from '../support/nbd-tools.js';
import { describeWith } from '../support/peers.js';
import { run, runOk, startProcess, waitFor } from '../support/processes.js';
import { addBitmap, createQcow2, listBitmaps, qemuIoOnImage } from '../support/qcow2-image.js';
import { codeOf, expectSameBytes, restoreBytes } from '../support/restore-check.js';
import { type TempFolder, tempFolder } from '../support/temp-folder.js';

const MIB = 2 ** 20;
const SIZE = 4 * MIB;
const BLOCK = 65_536;

const BEGIN_SESSION = new URL('../support/begin-session.mjs', import.meta.url).pathname;

type Images = Readonly<Record<string, string>>;

/** A folder whose servers end with it, also those of a test that failed. */
async function imageFolder(): Promise<TempFolder> {
  const folder = await tempFolder();
  return {
    ...folder,
    async [Symbol.asyncDispose]() {
      for (const server of await serversIn(folder)) await endProcess(server);
      await folder[Symbol.asyncDispose]();
    },
  };
}

async function serversIn(folder: TempFolder): Promise<readonly ServerProcess[]> {
  return (await findServers()).filter(({ socket }) => socket.startsWith(`${folder.path}/`));
}

function frontEndOf(folder: TempFolder, images: Images, options: FrontEndOptions = {}): ImageFrontEnd {
  const sources = Object.entries(images).map(([disk, path]) => ({
    disk,
    source: parseSource(`image:${path}`),
  }));
  return new ImageFrontEnd(sources, { socketDir: folder.file('sockets'), ...options });
}

/** Servers and files of runs; there is to be none at the end of every test. */
async function leftovers(folder: TempFolder): Promise<readonly string[]> {
  const servers = await serversIn(folder);
  return [...servers.map(({ pid }) => `qemu-nbd ${pid}`), ...(await filesIn(folder.file('sockets')))];
}

async function readExport(record: SessionRecord, index = 0): Promise<Buffer> {
  await using folder = await tempFolder();
  await nbdcopy(record.disks[index]!.uri, folder.file('raw'));
  return await readFile(folder.file('raw'));
}

async function dirtyBlocks({ disks }: SessionRecord, index = 0): Promise<readonly number[]> {
  const { uri, bitmap } = disks[index]!;
  const map = await nbdinfoMap(uri, `qemu:dirty-bitmap:${bitmap}`);
  return map.filter(({ type }) => type === 1).map(({ offset }) => offset);
}

/** Two images, each with a committed checkpoint, `base`. */
async function guestWithBase(
  folder: TempFolder,
): Promise<{ readonly images: Images; readonly base: string }> {
  const images = { vda: folder.file('vda.qcow2'), vdb: folder.file('vdb.qcow2') };
  const base = newRunName(TEST_OWNER).text;
  for (const image of Object.values(images)) {
    await createQcow2(image, SIZE);
    await addBitmap(image, base);
  }
  return { images, base };
}

const serversOf = (record: SessionRecord) =>
  record.details['servers'] as readonly {
    readonly disk: string;
    readonly pid: number;
    readonly start: string;
  }[];

const TOOLS = ['qemu-img', 'qemu-io', 'qemu-nbd', 'nbdcopy', 'nbdinfo'] as const;

describeWith([...TOOLS, 'qemu-system-x86_64'], 'images and QEMU’s lock', () => {
  const secret = async (folder: TempFolder) => {
    await writeFile(folder.file('key'), 'sesame');
    return folder.file('key');
  };

  async function makeImage(folder: TempFolder, format: 'qcow2' | 'raw' | 'luks'): Promise<string> {
    const image = folder.file(`vda.${format}`);
    const key = ['--object', `secret,id=s,file=${await secret(folder)}`, '-o', 'key-secret=s,iter-time=10'];
    await createEncrypted(['-f', format, ...(format === 'luks' ? key : []), image, String(SIZE)]);
    return image;
  }

  // QEMU 7.2 itself lets a reader of raw and LUKS images in beside a running guest.
  it.each(['qcow2', 'raw', 'luks'] as const)(
    'a %s image of a running guest is refused, and left as it is',
    async format => {
      await using folder = await imageFolder();
      const image = await makeImage(folder, format);
      await using frontEnd = frontEndOf(folder, { vda: image }, { secretFile: folder.file('key') });
      const key = format === 'luks' ? { secretFile: folder.file('key') } : {};
      {
        await using _guest = await startImageUser(image, { format, ...key });
        const before = await readFile(image);
        for (const checkpoint of [true, false]) {
          const { records, journal } = keptJournal();
          const refused = frontEnd.begin(beginRequest({ checkpoint, journal }));
          await expect(refused).rejects.toMatchObject({ code: 'IMAGE_IN_USE' });
          expect(records.map(({ state }) => state)).toEqual(['planned']);
        }
        expectSameBytes(await readFile(image), before, 'the image');
        expect(await leftovers(folder)).toEqual([]);
        const ids = [];
        for await (const { id, status } of frontEnd.examine({})) if (status === 'problem') ids.push(id);
        expect(ids).toEqual(['image-lock']);
      }
      const record = await frontEnd.begin(beginRequest());
      await frontEnd.health(record);
      await frontEnd.end(record, 'abort');
      expect(await leftovers(folder)).toEqual([]);
    },
  );

  it.each(['qcow2', 'raw', 'luks'] as const)(
    'no guest can start on a %s image while it is read',
    async format => {
      await using folder = await imageFolder();
      const image = await makeImage(folder, format);
      await using frontEnd = frontEndOf(folder, { vda: image }, { secretFile: folder.file('key') });
      const record = await frontEnd.begin(beginRequest());
      const key = format === 'luks' ? { secretFile: folder.file('key') } : {};
      const start = () => startImageUser(image, { format, ...key });
      await expect(start()).rejects.toThrow('Failed to get "write" lock');
      await frontEnd.health(record);
      await frontEnd.end(record, 'commit');
      await using guest = await start();
      expect(guest.isRunning).toBe(true);
    },
  );

  it('one of two that is in use: the other one loses its new bitmap again', async () => {
    await using folder = await imageFolder();
    const { images, base } = await guestWithBase(folder);
    await using frontEnd = frontEndOf(folder, images);
    await using guest = await startImageUser(images['vdb']!, { format: 'qcow2' });
    await expect(frontEnd.begin(beginRequest({ bases: [base] }))).rejects.toMatchObject({
      code: 'IMAGE_IN_USE',
    });
    expect(await listBitmaps(images['vda']!)).toEqual([base]);
    expect(await leftovers(folder)).toEqual([]);
    await guest.stop();
    expect(await listBitmaps(images['vdb']!)).toEqual([base]);
  });

  it('one that a guest takes between the run and its end: the bitmap is said to be left, and swept later', async () => {
    await using folder = await imageFolder();
    const image = await makeImage(folder, 'qcow2');
    await using frontEnd = frontEndOf(folder, { vda: image });
    const record = await frontEnd.begin(beginRequest());
    process.kill(serversOf(record)[0]!.pid, 'SIGKILL');
    await waitFor(async () => (await serversIn(folder)).length === 0, 'its end');
    {
      await using _guest = await startImageUser(image, { format: 'qcow2' });
      const actions = await frontEnd.end(record, 'abort');
      expect(actions.map(({ what }) => what)).toEqual(['left', 'file-removed']);
      expect(actions[0]!.text).toContain(record.checkpoint);
    }
    const sweep = { owner: TEST_OWNER, keep: [], isAlive: () => false };
    expect((await frontEnd.sweep(sweep)).map(({ what }) => what)).toEqual(['bitmap-removed']);
    expect(await listBitmaps(image)).toEqual([]);
  });
});

describeWith(TOOLS, 'images and their servers', () => {
  it('a server that is killed is a lost job, which ends cleanly, also twice', async () => {
    await using folder = await imageFolder();
    const { images, base } = await guestWithBase(folder);
    await using frontEnd = frontEndOf(folder, images);
    const record = await frontEnd.begin(beginRequest({ bases: [base] }));
    const trouble: Error[] = [];
    using _watch = frontEnd.watch(record, error => trouble.push(error));
    process.kill(serversOf(record)[1]!.pid, 'SIGKILL');
    await waitFor(() => trouble.length > 0, 'the watch');
    expect(trouble).toMatchObject([{ code: 'JOB_LOST', message: expect.stringContaining('vdb') }]);
    await expect(frontEnd.health(record)).rejects.toMatchObject({ code: 'JOB_LOST' });
    const actions = await frontEnd.end(record, 'abort');
    expect(actions.map(({ what }) => what)).toEqual([
      ...['process-ended', 'bitmap-removed', 'bitmap-removed', 'file-removed'],
    ]);
    expect(await frontEnd.end(record, 'abort')).toEqual([]);
    for (const image of Object.values(images)) expect(await listBitmaps(image)).toEqual([base]);
    expect(await leftovers(folder)).toEqual([]);
  });

  it('a process that has the number of a dead server is not ended, and does not pass for it', async () => {
    await using folder = await imageFolder();
    const { images } = await guestWithBase(folder);
    await using frontEnd = frontEndOf(folder, images);
    const record = await frontEnd.begin(beginRequest());
    await using other = await startProcess('sleep', ['60'], { ready: () => true });
    const stat = await readFile(`/proc/${other.pid}/stat`, 'latin1');
    const start = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
    const servers = serversOf(record).map(server => ({ ...server, pid: other.pid, start }));
    const forged = { ...record, details: { ...record.details, servers } } as SessionRecord;
    await expect(frontEnd.health(forged)).rejects.toMatchObject({ code: 'JOB_LOST' });
    await frontEnd.end(forged, 'abort');
    expect(other.isRunning).toBe(true);
    expect(await leftovers(folder)).toEqual([]);
  });

  it('an abort in mid-begin leaves nothing, and no bitmap broken', async () => {
    await using folder = await imageFolder();
    const { images, base } = await guestWithBase(folder);
    await using frontEnd = frontEndOf(folder, images);
    const abort = new AbortController();
    let count = 0;
    // The first is the plan: qemu-img is at work soon after the second one was begun.
    const journal = async () => {
      if (++count === 1) setTimeout(() => abort.abort(new Error('enough')), 20);
    };
    const begun = frontEnd.begin(beginRequest({ bases: [base], journal, signal: abort.signal }));
    await expect(begun).rejects.toThrow(/enough|abort|stopped on request/i);
    expect(await leftovers(folder)).toEqual([]);
    for (const image of Object.values(images)) {
      expect(await listBitmaps(image)).toEqual([base]);
      expect(await runOk('qemu-img', ['info', image])).not.toContain('in-use');
    }
  });

  it('a journal that cannot be written ends it at any time', async () => {
    await using folder = await imageFolder();
    const { images, base } = await guestWithBase(folder);
    await using frontEnd = frontEndOf(folder, images);
    for (const last of [1, 2, 3, 4]) {
      let count = 0;
      const journal = async () => {
        if (++count === last) throw new Error('disk full');
      };
      await expect(frontEnd.begin(beginRequest({ journal }))).rejects.toThrow('disk full');
      expect(await leftovers(folder)).toEqual([]);
      for (const image of Object.values(images)) expect(await listBitmaps(image)).toEqual([base]);
    }
  });

  it('a bitmap that cannot be removed keeps nothing else from being ended', async () => {
    await using folder = await imageFolder();
    const { images, base } = await guestWithBase(folder);
    await using frontEnd = frontEndOf(folder, images);
    const record = await frontEnd.begin(beginRequest({ bases: [base] }));
    await rename(images['vda']!, folder.file('moved'));
    await writeFile(images['vda']!, 'no image at all');
    const actions = await frontEnd.end(record, 'abort');
    expect(actions.filter(({ what }) => what === 'left')).toHaveLength(1);
    expect(await listBitmaps(images['vdb']!)).toEqual([base]);
    expect(await leftovers(folder)).toEqual([]);
  });

  it.each([
    [
      'replaced',
      async (image: string) => {
        await copyFile(image, `${image}.new`);
        await rename(`${image}.new`, image);
      },
    ],
    ['removed', (image: string) => rename(image, `${image}.old`)],
    ['overwritten', async (image: string) => writeFile(image, await readFile(image))],
    ['resized', (image: string) => truncate(image, SIZE + BLOCK)],
  ] as const)('an image that is %s by programs that know no lock is a lost job', async (_, change) => {
    await using folder = await imageFolder();
    const image = folder.file('vda.raw');
    await runOk('qemu-img', ['create', '-q', '-f', 'raw', image, String(SIZE)]);
    await utimes(image, 1_000_000_000, 1_000_000_000);
    await using frontEnd = frontEndOf(folder, { vda: image });
    const record = await frontEnd.begin(beginRequest());
    await frontEnd.health(record);
    await change(image);
    await expect(frontEnd.health(record)).rejects.toMatchObject({ code: 'JOB_LOST' });
    await frontEnd.end(record, 'abort');
    expect(await leftovers(folder)).toEqual([]);
  });

  it('QEMU does not let anybody resize it meanwhile', async () => {
    await using folder = await imageFolder();
    const { images } = await guestWithBase(folder);
    await using frontEnd = frontEndOf(folder, images);
    const record = await frontEnd.begin(beginRequest());
    const resized = await run('qemu-img', ['resize', '-f', 'qcow2', images['vda']!, '+1M']);
    expect(resized).toMatchObject({ code: 1, stderr: expect.stringContaining('lock') });
    await frontEnd.health(record);
    await frontEnd.end(record, 'commit');
  });

  it('a sweep ends what is at its images only, and no living run', async () => {
    await using folder = await imageFolder();
    const [image, longer] = [folder.file('vda.qcow2'), folder.file('vda.qcow2,old')];
    for (const path of [image, longer]) await createQcow2(path, SIZE);
    await using frontEnd = frontEndOf(folder, { vda: image });
    await using other = frontEndOf(folder, { vda: longer }, { imageFormat: 'qcow2' });
    const [mine, theirs] = [await frontEnd.begin(beginRequest()), await other.begin(beginRequest())];
    // The private folder of a job that no qemu-nbd of ours serves: libvirt's, of another guest.
    const job = join(folder.file('sockets'), newRunName('12345678').text);
    await mkdir(job, { mode: 0o700 });
    const keep = [mine.run, theirs.run].map(name => ({ name, definition: undefined }));
    expect(await frontEnd.sweep({ owner: undefined, keep, isAlive: run => run === mine.run })).toEqual([]);
    await frontEnd.health(mine);
    const actions = await frontEnd.sweep({ owner: undefined, keep, isAlive: () => false });
    expect(actions.map(({ what }) => what)).toEqual(['process-ended', 'file-removed']);
    await other.health(theirs);
    await other.end(theirs, 'abort');
    expect(await leftovers(folder)).toEqual([`file ${basename(job)}`]);
  });
});

describeWith(TOOLS, 'a qemu-img that is writing to an image', () => {
  /** A `qemu-img bitmap` that says `started`, waits for `go`, and says `done`; the folder of it, for the PATH. */
  async function slowQemuImg(folder: TempFolder): Promise<string> {
    const real = (await runOk('sh', ['-c', 'command -v qemu-img'])).trim();
    await mkdir(folder.file('bin'));
    const wait = `touch '${folder.file('started')}'; until [ -e '${folder.file('go')}' ]; do sleep 0.05; done`;
    const bitmap = `${wait}; ${real} "$@"; code=$?; touch '${folder.file('done')}'; exit $code`;
    const script = `#!/bin/sh\nif [ "$1" = bitmap ]; then ${bitmap}; fi\nexec ${real} "$@"\n`;
    await writeFile(folder.file('bin/qemu-img'), script, { mode: 0o755 });
    return `${folder.file('bin')}:${process.env['PATH']}`;
  }

  const isThere = (path: string) => () => existsSync(path);

  /** Whoever is killed with an image open for writing leaves all its bitmaps inconsistent. */
  async function expectWholeBitmaps(image: string, base: string): Promise<void> {
    const info = await runOk('qemu-img', ['info', image]);
    expect(info).toContain(base);
    expect(info).not.toContain('in-use');
  }

  it('comes to its end when the run is aborted', async () => {
    await using folder = await imageFolder();
    const { images, base } = await guestWithBase(folder);
    const before = process.env['PATH'];
    process.env['PATH'] = await slowQemuImg(folder);
    try {
      await using frontEnd = frontEndOf(folder, images);
      const abort = new AbortController();
      const begun = frontEnd.begin(beginRequest({ bases: [base], signal: abort.signal }));
      const refused = expect(begun).rejects.toThrow('enough');
      await waitFor(isThere(folder.file('started')), 'qemu-img at work');
      abort.abort(new Error('enough'));
      await writeFile(folder.file('go'), '');
      await refused;
    } finally {
      process.env['PATH'] = before;
    }
    expect(existsSync(folder.file('done'))).toBe(true);
    for (const image of Object.values(images)) await expectWholeBitmaps(image, base);
    expect(await listBitmaps(images['vda']!)).toEqual([base]);
    expect(await leftovers(folder)).toEqual([]);
  });

  it('comes to its end after a Ctrl-C, which reaches every program of the terminal', async () => {
    await using folder = await imageFolder();
    const { images, base } = await guestWithBase(folder);
    const places = { stateDir: folder.file('state'), socketDir: folder.file('sockets') };
    const options = JSON.stringify({ ...places, source: `image:${images['vda']}` });
    const env = { ...process.env, PATH: await slowQemuImg(folder) };
    const child = spawn(process.execPath, [BEGIN_SESSION, options], { detached: true, stdio: 'ignore', env });
    const ended = once(child, 'exit');
    await waitFor(isThere(folder.file('started')), 'qemu-img at work');
    process.kill(-child.pid!, 'SIGINT');
    await ended;
    await writeFile(folder.file('go'), '');
    await waitFor(isThere(folder.file('done')), 'the end of qemu-img');
    await expectWholeBitmaps(images['vda']!, base);
  });
});

describeWith(TOOLS, 'images of all kinds', () => {
  it('an inconsistent bitmap: that disk as a whole, with the reason, and the other one since the base', async () => {
    await using folder = await imageFolder();
    const { images, base } = await guestWithBase(folder);
    const writer = await startProcess(
      'qemu-storage-daemon',
      [
        ...['--blockdev', `driver=qcow2,node-name=d,file.driver=file,file.filename=${images['vda']}`],
        ...['--chardev', 'stdio,id=c', '--monitor', 'chardev=c'],
      ],
      { ready: ({ stdout }) => stdout.includes('QMP') },
    );
    await writer.kill();
    await qemuIoOnImage(images['vdb']!, [`write -P 7 ${3 * BLOCK} ${BLOCK}`]);
    await using frontEnd = frontEndOf(folder, images);
    const record = await frontEnd.begin(beginRequest({ bases: [base] }));
    expect(record.since).toBe(base);
    expect(record.disks).toMatchObject([
      { bitmap: null, reason: { code: 'bitmap-inconsistent' } },
      { bitmap: base, reason: null },
    ]);
    expect(await dirtyBlocks(record, 1)).toEqual([3 * BLOCK]);
    await frontEnd.end(record, 'commit');
    // It cannot be read, and so is dropped by name like any other.
    const names = [base];
    expect((await frontEnd.dropCheckpoints(names)).map(({ what }) => what)).toEqual([
      'bitmap-removed',
      'bitmap-removed',
    ]);
    for (const image of Object.values(images)) expect(await listBitmaps(image)).toEqual([record.run]);
  });

  it('a raw image whose guest wrote the header of another one is read as what it is', async () => {
    await using folder = await imageFolder();
    await writeFile(folder.file('shadow'), Buffer.alloc(SIZE, 's'));
    await runOk('qemu-img', [
      ...['create', '-q', '-f', 'qcow2', '-b', folder.file('shadow'), '-F', 'raw', folder.file('trap')],
    ]);
    const content = Buffer.alloc(SIZE, 7);
    (await readFile(folder.file('trap'))).copy(content);
    // Its name says nothing: QEMU would take it for a qcow2 with the host's file behind it.
    await writeFile(folder.file('disk'), content);
    await writeFile(folder.file('disk.raw'), content);
    await using guessed = frontEndOf(folder, { vda: folder.file('disk') });
    await expect(guessed.begin(beginRequest())).rejects.toMatchObject({
      ...{
        code: 'USAGE',
        message: expect.stringContaining('shadow'),
        hint: expect.stringContaining('--image-format'),
      },
    });
    await using said = frontEndOf(folder, { vda: folder.file('disk') }, { imageFormat: 'raw' });
    await using named = frontEndOf(folder, { vda: folder.file('disk.raw') });
    for (const frontEnd of [said, named]) {
      const record = await frontEnd.begin(beginRequest());
      expect(record).toMatchObject({ checkpoint: null, disks: [{ format: 'raw', size: SIZE }] });
      expectSameBytes(await readExport(record), content, 'the raw disk');
      await frontEnd.end(record, 'commit');
    }
    expect(await leftovers(folder)).toEqual([]);
  });

  it('a chain of images: its content, and the bitmap of the top only', async () => {
    await using folder = await imageFolder();
    const [below, top] = [folder.file('below.qcow2'), folder.file('top.qcow2')];
    await createQcow2(below, SIZE);
    await qemuIoOnImage(below, [`write -P 1 0 ${2 * BLOCK}`]);
    const base = newRunName(TEST_OWNER).text;
    // A bitmap of the same name below knows nothing of what was written since: qemu-nbd would take it.
    await addBitmap(below, base);
    await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', below, '-F', 'qcow2', top]);
    await using frontEnd = frontEndOf(folder, { vda: top });
    const first = await frontEnd.begin(beginRequest({ bases: [base] }));
    expect(first.disks).toMatchObject([{ bitmap: null, reason: { code: 'bitmap-missing' } }]);
    const expected = Buffer.alloc(SIZE);
    expected.fill(1, 0, 2 * BLOCK);
    expectSameBytes(await readExport(first), expected, 'the chain');
    await frontEnd.end(first, 'commit');
    expect(await listBitmaps(below)).toEqual([base]);
    await qemuIoOnImage(top, [`write -P 2 ${BLOCK} ${BLOCK}`]);
    const second = await frontEnd.begin(beginRequest({ bases: [first.run] }));
    expect(await dirtyBlocks(second)).toEqual([BLOCK]);
    expectSameBytes(await readExport(second), expected.fill(2, BLOCK, 2 * BLOCK), 'the chain');
    await frontEnd.end(second, 'abort');
    await rename(below, folder.file('elsewhere'));
    await expect(frontEnd.begin(beginRequest())).rejects.toMatchObject({
      ...{ code: 'GUEST_STATE', message: expect.stringContaining('below.qcow2') },
    });
    expect(await listBitmaps(top).catch(() => listBitmapsAlone(top))).toEqual([first.run]);
    expect(await leftovers(folder)).toEqual([]);
  });

  it.each([
    'comma,comma,,.qcow2',
    'two  spaces.qcow2',
    `quotes"'\`.qcow2`,
    'schöne größe 磁盘.qcow2',
    '-rf.qcow2',
    'a=b,driver=raw.qcow2',
    'nbd:localhost:10809.qcow2',
    'json:{}.qcow2',
    'back\\slash\nline.qcow2',
    '%s$HOME#?.qcow2',
  ])('a path like %j is only a path', async name => {
    await using folder = await imageFolder();
    await createQcow2(folder.file('plain.qcow2'), SIZE);
    await qemuIoOnImage(folder.file('plain.qcow2'), [`write -P 9 ${BLOCK} ${BLOCK}`]);
    await rename(folder.file('plain.qcow2'), folder.file(name));
    await using frontEnd = new ImageFrontEnd(
      [{ disk: undefined, source: parseSource(`image:${folder.file(name)}`) }],
      { socketDir: folder.file('sockets') },
    );
    const record = await frontEnd.begin(beginRequest());
    expectSameBytes(await readExport(record), Buffer.alloc(SIZE).fill(9, BLOCK, 2 * BLOCK), name);
    expect((await findServers()).map(({ image }) => image)).toContain(folder.file(name));
    await frontEnd.health(record);
    await frontEnd.end(record, 'commit');
    expect(await frontEnd.listCheckpoints()).toEqual([record.run]);
    await frontEnd.dropCheckpoints([record.run]);
    expect(await frontEnd.listCheckpoints()).toEqual([]);
    expect(await leftovers(folder)).toEqual([]);
  });

  it('one image under two names is refused', async () => {
    await using folder = await imageFolder();
    await createQcow2(folder.file('a.qcow2'), SIZE);
    await symlink(folder.file('a.qcow2'), folder.file('b.qcow2'));
    await using frontEnd = frontEndOf(folder, { vda: folder.file('a.qcow2'), vdb: folder.file('b.qcow2') });
    await expect(frontEnd.begin(beginRequest())).rejects.toMatchObject({ code: 'USAGE' });
  });
});

const listBitmapsAlone = async (image: string) => {
  const text = await runOk('qemu-img', [
    'info',
    '--output=json',
    `json:${JSON.stringify({
      ...{ driver: 'qcow2', backing: null, file: { driver: 'file', filename: image } },
    })}`,
  ]);
  return (JSON.parse(text)['format-specific'].data.bitmaps as { name: string }[]).map(({ name }) => name);
};

describeWith(TOOLS, 'encrypted images', () => {
  const KEY = 'open, sesame';

  async function makeEncrypted(
    folder: TempFolder,
    format: 'luks' | 'qcow2',
  ): Promise<{ image: string; key: string }> {
    const [image, key] = [folder.file(`vda.${format}`), folder.file('a,key')];
    await writeFile(key, KEY);
    const prefix = format === 'luks' ? '' : 'encrypt.';
    const options = `${prefix}key-secret=s,${prefix}iter-time=10${format === 'luks' ? '' : ',encrypt.format=luks'}`;
    const secret = `secret,id=s,file=${key.replaceAll(',', ',,')}`;
    await createEncrypted(['-f', format, '--object', secret, '-o', options, image, String(SIZE)]);
    return { image, key };
  }

  async function write(image: string, key: string, format: 'luks' | 'qcow2', command: string): Promise<void> {
    const secret = `secret,id=s,file=${key.replaceAll(',', ',,')}`;
    const name = format === 'luks' ? 'key-secret' : 'encrypt.key-secret';
    const options = `driver=${format},${name}=s,file.driver=file,file.filename=${image}`;
    await runOk('qemu-io', ['--object', secret, '--image-opts', '-c', command, options]);
  }

  it.each(['luks', 'qcow2'] as const)('%s: what is stored and restored is the content', async format => {
    await using folder = await imageFolder();
    const { image, key } = await makeEncrypted(folder, format);
    const content = Buffer.alloc(SIZE);
    // What was never written to a LUKS image reads as noise.
    await write(image, key, format, `write -P 0 0 ${SIZE}`);
    const repository = folder.file('repo');
    const backUp = () =>
      backupGuest({
        ...{ source: [{ disk: 'vda', source: `image:${image}` }], repository, machine: 'web1' },
        ...{ stateDir: folder.file('state'), socketDir: folder.file('sockets'), secretFile: key },
      });
    for (const [round, ...how] of [
      [1, 'full', undefined],
      [2, 'incremental', format === 'luks' ? 'rescan' : 'bitmap'],
    ] as const) {
      await write(image, key, format, `write -P ${round} ${round * BLOCK} ${2 * BLOCK}`);
      content.fill(round, round * BLOCK, (round + 2) * BLOCK);
      const { point } = await backUp();
      expect([point.level, point.disks[0]?.method]).toEqual(how);
      expectSameBytes(await restoreBytes(repository, `web1@${point.id}`), content, `round ${round}`);
    }
    expect(await leftovers(folder)).toEqual([]);
    await write(image, key, format, 'read 0 64k');
  });

  it.each(['luks', 'qcow2'] as const)(
    '%s: a secret that is wrong, not there or no file is one clear error',
    async format => {
      await using folder = await imageFolder();
      const { image, key } = await makeEncrypted(folder, format);
      await writeFile(folder.file('wrong'), `${KEY}\n`);
      const before = await readFile(image);
      for (const [secretFile, text] of [
        [undefined, /is encrypted/],
        [folder.file('wrong'), /does not unlock/],
        [folder.file('nowhere'), /nowhere cannot be read/],
        [folder.path, /no.* regular file|not a regular file/],
      ] as const) {
        await using frontEnd = frontEndOf(folder, { vda: image }, { secretFile });
        await expect(frontEnd.begin(beginRequest())).rejects.toMatchObject({
          ...{
            code: 'HYPERVISOR_DENIED',
            message: expect.stringMatching(text),
            hint: expect.stringContaining('--secret'),
          },
        });
        expect(await leftovers(folder)).toEqual([]);
      }
      expectSameBytes(await readFile(image), before, 'the image');
      await using wrong = frontEndOf(folder, { vda: image }, { secretFile: folder.file('wrong') });
      const problems = [];
      for await (const { id, status } of wrong.examine({})) if (status === 'problem') problems.push(id);
      expect(problems).toEqual(['image-lock']);
      expect(key).toBeTruthy();
    },
  );

  it('an image on an encrypted one says so', async () => {
    await using folder = await imageFolder();
    const { image } = await makeEncrypted(folder, 'qcow2');
    await runOk('qemu-img', [
      'create',
      '-q',
      '-f',
      'qcow2',
      '-b',
      image,
      '-F',
      'qcow2',
      folder.file('top.qcow2'),
      '4M',
    ]);
    await using frontEnd = frontEndOf(folder, { vda: folder.file('top.qcow2') });
    await expect(frontEnd.begin(beginRequest())).rejects.toMatchObject({
      ...{ code: 'HYPERVISOR_DENIED', message: expect.stringContaining('based on') },
    });
    expect(
      await listBitmaps(folder.file('top.qcow2')).catch(() => listBitmapsAlone(folder.file('top.qcow2'))),
    ).toEqual([]);
    expect(await leftovers(folder)).toEqual([]);
  });
});

describeWith(TOOLS, 'sessions on images', () => {
  /** In a process of its own, and in another folder: the image is named relative to that one. */
  async function beginElsewhere(folder: TempFolder, options: object): Promise<BegunSession> {
    const args = [BEGIN_SESSION, JSON.stringify(options)];
    return JSON.parse(await runOk(process.execPath, args, { cwd: folder.path })) as BegunSession;
  }

  it('outlives its process, and is ended by another one in another folder', async () => {
    await using folder = await imageFolder();
    await createQcow2(folder.file('vda.qcow2'), SIZE);
    const places = { stateDir: folder.file('state'), socketDir: folder.file('sockets') };
    const options = { source: [{ disk: 'vda', source: 'image:vda.qcow2' }], ...places };
    const first = await beginElsewhere(folder, options);
    expect((await findServers()).map(({ image }) => image)).toContain(folder.file('vda.qcow2'));
    await nbdcopy(first.disks[0]!.uri, folder.file('copy'));
    const ended = await endSession({ ...places, token: first.token, outcome: 'commit' });
    expect(ended.checkpoint).toBe(first.checkpoint);
    expect(await leftovers(folder)).toEqual([]);
    await qemuIoOnImage(folder.file('vda.qcow2'), [`write -P 5 0 ${BLOCK}`]);
    const second = await beginElsewhere(folder, { ...options, since: first.checkpoint });
    const map = await nbdinfoMap(second.disks[0]!.uri, second.disks[0]!.context!);
    expect(map.filter(({ type }) => type === 1)).toMatchObject([{ offset: 0, length: BLOCK }]);
    const { actions } = await endSession({ ...places, token: second.token, outcome: 'commit' });
    expect(actions.map(({ what }) => what)).toEqual(['process-ended', 'file-removed', 'bitmap-removed']);
    expect(await listBitmaps(folder.file('vda.qcow2'))).toEqual([second.checkpoint]);
    expect(await leftovers(folder)).toEqual([]);
  });

  it('two on one image: with checkpoints the second is refused, without they read side by side', async () => {
    await using folder = await imageFolder();
    const image = folder.file('vda.qcow2');
    await createQcow2(image, SIZE);
    const places = { stateDir: folder.file('state'), socketDir: folder.file('sockets') };
    const options = { source: [{ disk: 'vda', source: `image:${image}` }], ...places };
    const first = await beginSession(options);
    expect(await codeOf(beginSession(options))).toBe('IMAGE_IN_USE');
    const second = await beginSession({ ...options, checkpoint: false });
    await nbdcopy(second.disks[0]!.uri, folder.file('copy'));
    const aborted = await endSession({ ...places, token: first.token, outcome: 'abort' });
    expect(aborted.actions.map(({ what }) => what)).toEqual(['process-ended', 'left', 'file-removed']);
    expect(aborted.actions[1]!.text).toContain('qemu-img bitmap --remove');
    await nbdcopy(second.disks[0]!.uri, folder.file('again'));
    await endSession({ ...places, token: second.token, outcome: 'commit' });
    expect((await listSessions(places)).sessions).toEqual([]);
    expect(await leftovers(folder)).toEqual([]);
  });

  it('recover finds one by another spelling of its path', async () => {
    await using folder = await imageFolder();
    await createQcow2(folder.file('vda.qcow2'), SIZE);
    const places = { stateDir: folder.file('state'), socketDir: folder.file('sockets') };
    await beginSession({ ...places, source: `image:${folder.path}/./vda.qcow2`, ttlMs: 0 });
    const { actions } = await recover({ ...places, source: `image:${folder.path}//vda.qcow2` });
    expect(actions.map(({ what }) => what)).toEqual(['process-ended', 'bitmap-removed', 'file-removed']);
    expect(await leftovers(folder)).toEqual([]);
  });
});

describe('block devices', () => {
  it('is read, locked and kept a bitmap on like a file', async context => {
    await using folder = await imageFolder();
    await createQcow2(folder.file('seed'), SIZE);
    await truncate(folder.file('seed'), 8 * MIB);
    const attached = await run('losetup', ['-f', '--show', folder.file('seed')]).catch(() => undefined);
    if (attached?.code !== 0) return context.skip(`no loop device here: ${attached?.stderr}`);
    const device = attached.stdout.trim();
    try {
      await using frontEnd = frontEndOf(folder, { vda: device });
      const record = await frontEnd.begin(beginRequest());
      expect(record).toMatchObject({ checkpoint: record.run, disks: [{ format: 'qcow2', size: SIZE }] });
      await frontEnd.health(record);
      expect(await readExport(record)).toHaveLength(SIZE);
      await frontEnd.end(record, 'commit');
      expect(await frontEnd.listCheckpoints()).toEqual([record.run]);
      await using raw = frontEndOf(folder, { vda: device }, { imageFormat: 'raw' });
      const whole = await raw.begin(beginRequest());
      expect(await readExport(whole)).toHaveLength(8 * MIB);
      const locked = await run('qemu-io', ['-f', 'raw', '-c', 'write 0 512', device]);
      expect(`${locked.stdout}${locked.stderr}`).toContain('lock');
      await raw.end(whole, 'commit');
      expect(await leftovers(folder)).toEqual([]);
    } finally {
      await runOk('losetup', ['-d', device]);
    }
  });
});
