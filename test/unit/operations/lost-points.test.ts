/** Points that were committed and are gone or torn: noticed, and nothing is built on what is left as if it were all. */
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type BackupOptions, backup, listPoints, type Manifest, verify } from '#nbdelta/index.js';
import { LocalBackend } from '#nbdelta/repository/local-backend.js';
import { openRepository } from '#nbdelta/repository/repository.js';
import { codeOf, expectSameBytes, restoreBytes } from '../../support/restore-check.js';
import { type TempFolder, tempFolder } from '../../support/temp-folder.js';
import { BITMAP, backUpGuests, served, TrackedGuest } from '../../support/tracked-guest.js';

const SIZE = 2 ** 20;

let folder: TempFolder;
let guest: TrackedGuest;
let first: Manifest;
let second: Manifest;

beforeEach(async () => {
  folder = await tempFolder();
  guest = new TrackedGuest(SIZE);
  guest.write(0, randomBytes(SIZE));
  first = await take();
  guest.write(65_536, randomBytes(65_536));
  second = await take();
  guest.write(262_144, randomBytes(65_536));
});
afterEach(() => folder[Symbol.asyncDispose]());

const take = async (options: Parameters<typeof backUpGuests>[2] = {}) =>
  (await backUpGuests(folder, { vda: guest }, { frameSize: 65_536, threads: 1, ...options })).point;
const inMachine = (...parts: string[]) => folder.file('repo', 'guest', ...parts);
const repository = () => folder.file('repo');
const found = async () =>
  (await verify({ repository: repository() })).problems.map(each => [each.point, each.code]);

async function expectLatestRestores(): Promise<void> {
  expectSameBytes(await restoreBytes(repository(), 'guest@latest'), guest.content, 'latest');
}

describe.each<[string, () => Promise<void>]>([
  ['folder', () => rm(inMachine(second.id), { recursive: true })],
  ['manifest.json', () => rm(inMachine(second.id, 'manifest.json'))],
])('the newest point lost its %s', (_, lose) => {
  beforeEach(() => lose());

  it('latest, times and verify say so; older points can be named', async () => {
    const missing = `point ${second.id} is missing`;
    await expect(restoreBytes(repository(), 'guest@latest')).rejects.toThrow(missing);
    await expect(restoreBytes(repository(), 'guest@2100-01-01')).rejects.toThrow(missing);
    await expect(restoreBytes(repository(), `guest@${second.id}`)).rejects.toThrow(missing);
    expect((await restoreBytes(repository(), `guest@${first.id}`)).length).toBe(SIZE);
    expect(await found()).toEqual([[second.id, 'CHAIN_MISSING']]);
    expect((await listPoints({ repository: repository() }))[0]?.unreadable).toMatchObject([
      { id: second.id },
    ]);
  });

  it.each(['incremental', 'differential'] as const)('an explicit %s is refused', async level => {
    expect(await codeOf(take({ level }))).toBe('CHAIN_MISSING');
  });

  it('auto takes a full, with a sequence that was never given, and keeps what is left of the point', async () => {
    const left = await readdir(inMachine(second.id)).catch(() => null);
    const third = await take();
    expect(third).toMatchObject({ level: 'full', reason: { code: 'chain-broken' }, sequence: 3 });
    await expectLatestRestores();
    await take();
    expect(await readdir(inMachine(second.id)).catch(() => null)).toEqual(left);
    expect(await found()).toEqual([]);
  });
});

it('a newest point that came back is a point like any other', async () => {
  const path = inMachine(second.id, 'manifest.json');
  const manifest = await readFile(path);
  await rm(path);
  expect(await codeOf(take({ level: 'incremental' }))).toBe('CHAIN_MISSING');
  await writeFile(path, manifest);
  expect(await take()).toMatchObject({ level: 'incremental', parent: { id: second.id } });
  await expectLatestRestores();
});

it('a run killed between the commit and the record leaves a point that is newer than the record', async () => {
  const record = await readFile(inMachine('machine.json'));
  const third = await take();
  await writeFile(inMachine('machine.json'), record);
  guest.write(0, randomBytes(512));
  expect(await take()).toMatchObject({ parent: { id: third.id }, sequence: 4 });
  await expectLatestRestores();
  expect(await found()).toEqual([]);
});

it('a record of an older version, without the newest point, gets it with the next backup', async () => {
  const { newest, sequence, ...older } = JSON.parse(await readFile(inMachine('machine.json'), 'utf8'));
  expect([newest.id, sequence]).toEqual([second.id, 2]);
  await writeFile(inMachine('machine.json'), JSON.stringify(older));
  const third = await take();
  expect(third.parent?.id).toBe(second.id);
  expect(JSON.parse(await readFile(inMachine('machine.json'), 'utf8')).newest.id).toBe(third.id);
});

it('a newest point that was removed on purpose is not missed', async () => {
  const machine = (await openRepository(repository())).machine('guest');
  await using lock = await machine.lock('remove');
  await machine.removePoint(lock, second.id);
  expect(await machine.listPoints()).toMatchObject({
    points: [{ manifest: { id: first.id } }],
    unreadable: [],
  });
  expect(await found()).toEqual([]);
});

it('a record that cannot be written after the commit is a warning: the point exists', async () => {
  const opened = await openRepository(repository());
  const { replace } = opened.backend;
  let committed = false;
  opened.backend.replace = async (path, bytes) => {
    if (committed && path.endsWith('machine.json')) throw new Error('the disk is full');
    committed ||= path.endsWith('manifest.sha256');
    await replace.call(opened.backend, path, bytes);
  };
  const result = await backUpGuests(folder, { vda: guest }, { repository: opened });
  expect(result.warnings).toMatchObject([{ code: 'record-not-updated' }]);
  expect(result.point.sequence).toBe(3);
  await expectLatestRestores();
});

describe.each<[string, (file: string) => Promise<void>]>([
  ['is missing', file => rm(file)],
  ['is cut off', file => truncate(file, 1000)],
])('a volume of the chain %s', (_, harm) => {
  beforeEach(() => harm(inMachine(first.id, 'vda.0001.tar')));

  it('nothing builds on it: auto takes a full, an explicit level is refused naming point and file', async () => {
    const refused = { code: 'CHAIN_TORN', fields: { point: first.id, file: 'vda.0001.tar' } };
    await expect(take({ level: 'incremental' })).rejects.toMatchObject(refused);
    await expect(take({ level: 'differential' })).rejects.toMatchObject(refused);
    expect(await take()).toMatchObject({ level: 'full', reason: { code: 'chain-broken' } });
    await expectLatestRestores();
  });
});

describe('the machine is a link', () => {
  it('verify says so; nothing is read or written through it', async () => {
    await rename(inMachine(), folder.file('elsewhere'));
    await symlink(folder.file('elsewhere'), inMachine());
    const before = await readdir(folder.file('elsewhere'));
    const { problems } = await verify({ repository: repository() });
    expect(problems).toMatchObject([{ machine: 'guest', point: null, code: 'REPOSITORY_INVALID' }]);
    expect(await codeOf(take())).toBe('STORAGE_FAILED');
    expect(await readdir(folder.file('elsewhere'))).toEqual(before);
  });
});

describe('machine.json is gone', () => {
  beforeEach(() => rm(inMachine('machine.json')));

  it('verify says so, and a backup does not invent an identity for the points', async () => {
    const result = await verify({ repository: repository() });
    expect(result).toMatchObject({
      ok: false,
      problems: [{ machine: 'guest', point: null, code: 'REPOSITORY_INVALID' }],
    });
    expect(await codeOf(verify({ repository: repository(), point: 'guest' }))).toBe('REPOSITORY_INVALID');
    for (const level of ['auto', 'full'] as const) {
      expect(await codeOf(take({ level, machineId: 'new' }))).toBe('REPOSITORY_INVALID');
    }
    expect((await readdir(inMachine())).sort()).toEqual([first.id, second.id].sort());
  });
});

it('a stray entry in a leftover folder is a warning, and no backup fails of it', async () => {
  const id = '20200101T000000Z-00000000';
  await mkdir(inMachine(id, '.snapshot'), { recursive: true });
  const { warnings } = await take();
  expect(warnings).toMatchObject([{ code: 'leftover-kept', text: expect.stringContaining(id) }]);
});

it('another guest with a first id never lands on the points of a machine without one', async () => {
  const other = new TrackedGuest(SIZE);
  other.write(0, randomBytes(SIZE));
  const takeOther = (options: Partial<BackupOptions>) =>
    served(folder, { elsewhere: other.snapshot() }, uriOf =>
      backup({
        repository: repository(),
        machine: 'guest',
        machineId: 'b',
        disks: [{ name: 'vda', uri: uriOf('elsewhere'), bitmap: BITMAP }],
        ...options,
      }),
    );
  for (const level of ['incremental', 'differential', 'auto', 'copy'] as const) {
    await expect(takeOther({ level })).rejects.toMatchObject({
      code: 'MACHINE_MISMATCH',
      hint: expect.stringContaining('--level full'),
    });
  }
  // A full that fails late has adopted the id, but there is no full of this guest to build on.
  const opened = await openRepository(repository());
  opened.backend.putExclusive = async (path, bytes) => {
    if (path.endsWith('manifest.json')) throw new Error('the disk is full');
    return await LocalBackend.prototype.putExclusive.call(opened.backend, path, bytes);
  };
  await expect(takeOther({ repository: opened, level: 'full' })).rejects.toThrow('the disk is full');
  expect(await codeOf(takeOther({ level: 'incremental' }))).toBe('MACHINE_MISMATCH');

  expect((await takeOther({ level: 'full' })).point.machine.id).toBe('b');
  expectSameBytes(await restoreBytes(repository(), 'guest@latest'), other.content, 'the other guest');
  expect((await takeOther({})).point.level).toBe('incremental');
  expect(await codeOf(take())).toBe('MACHINE_MISMATCH');
});

it('a failure while cleaning up does not hide what went wrong first', async () => {
  const opened = await openRepository(repository());
  const fail = async () => {
    throw new Error('the network is gone');
  };
  opened.backend.removeIfUnchanged = fail;
  opened.backend.removeFolder = fail;
  const confirm = async () => {
    throw new Error('the job ended');
  };
  const failed = backUpGuests(folder, { vda: guest }, { repository: opened, confirm });
  await expect(failed).rejects.toMatchObject({
    message: 'the job ended',
    cause: { message: 'the network is gone' },
  });
});
