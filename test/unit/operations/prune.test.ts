/** What prune does to a repository: what it keeps, merges and removes, what stops it, and how it goes on after a crash. */
import { randomBytes } from 'node:crypto';
import { cp, mkdir, readdir, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  listPoints,
  type Manifest,
  merge,
  openChain,
  type PruneOptions,
  type PruneResult,
  pin,
  prune,
  pruneAll,
  showPoint,
  unpin,
  verify,
} from '#nbdelta/index.js';
import { LocalBackend } from '#nbdelta/repository/local-backend.js';
import { openRepository } from '#nbdelta/repository/repository.js';
import { codeOf, expectSameBytes, fileDigests, restoreBytes } from '../../support/restore-check.js';
import { type TempFolder, tempFolder } from '../../support/temp-folder.js';
import { backUpGuests, TrackedGuest } from '../../support/tracked-guest.js';

const FRAME = 65_536;
const SIZE = 6 * FRAME;
const POLICY = { keepLast: 2 };

/** Built once: a full with two branches, an incremental chain and a differential one, and a copy. */
let original: TempFolder;
let guest: TrackedGuest;
const points: Manifest[] = [];
const contents: Buffer[] = [];
let folder: TempFolder;

const take = async (place: TempFolder, level: Manifest['level']) => {
  guest.write(points.length * FRAME, randomBytes(FRAME));
  guest.zero(2 * FRAME + points.length * 512, 512);
  const options = { level, frameSize: FRAME, threads: 1, checkpoint: `cp-${points.length}` };
  points.push((await backUpGuests(place, { vda: guest }, options)).point);
  contents.push(Buffer.from(guest.content));
};

beforeAll(async () => {
  original = await tempFolder();
  guest = new TrackedGuest(SIZE);
  guest.write(0, randomBytes(SIZE));
  for (const level of [
    'full',
    'incremental',
    'incremental',
    'differential',
    'incremental',
    'copy',
  ] as const) {
    await take(original, level);
  }
});
afterAll(() => original[Symbol.asyncDispose]());
beforeEach(async () => {
  folder = await tempFolder();
  await cp(original.path, folder.path, { recursive: true });
});
afterEach(() => folder[Symbol.asyncDispose]());

const repository = () => folder.file('repo');
const inMachine = (...parts: string[]) => folder.file('repo', 'guest', ...parts);
const idOf = (number: number) => points[number - 1]!.id;
const pruneIt = (options: Partial<PruneOptions> = {}) =>
  prune({ repository: repository(), machine: 'guest', policy: POLICY, threads: 1, ...options });
const listing = async () => (await listPoints({ repository: repository() }))[0]!;
const folders = async () => (await readdir(inMachine())).filter(name => name.includes('Z-')).sort();

/** Bytes of all volumes. */
async function archiveSize(): Promise<number> {
  const names = await readdir(inMachine(), { recursive: true });
  const volumes = names.filter(name => name.endsWith('.tar'));
  return (await Promise.all(volumes.map(name => stat(inMachine(name))))).reduce(
    (sum, { size }) => sum + size,
    0,
  );
}

/** That a point, by the number that it has or stands for, reads as the disk was. */
async function expectReads(number: number): Promise<void> {
  const options = { repository: repository(), point: `guest@${idOf(number)}`, disk: 'vda', threads: 1 };
  await using chain = await openChain(options);
  expectSameBytes(await chain.read(0, chain.size), contents[number - 1]!, `point ${number}`);
}

/** The points, by the number that each has or stands for, read as they were taken, and nothing else is there. */
async function expectOnly(...numbers: readonly number[]): Promise<void> {
  for (const number of numbers) await expectReads(number);
  const left = (await listing()).points;
  expect(left.map(({ sequence }) => sequence)).toEqual(numbers);
  expect(await folders()).toEqual(left.map(({ id }) => id).sort());
}

function fates({ points: planned }: Pick<PruneResult, 'points'>): string[] {
  return planned.map(
    ({ action, reasons, into }) => `${action} ${[...reasons, ...into.map(id => `into ${id}`)].join(', ')}`,
  );
}

describe('prune', () => {
  it('merges forward what a kept point needs, and removes the rest; the chain goes on', async () => {
    const plans: unknown[] = [];
    const sizeBefore = await archiveSize();
    const result = await pruneIt({ onPlan: plan => void plans.push(plan.steps) });
    expect(fates(result)).toEqual([
      `merge into ${idOf(5)}`,
      'remove ',
      'remove ',
      `merge into ${idOf(5)}`,
      'keep last',
      'keep last',
    ]);
    expect(result.steps).toMatchObject([
      { kind: 'remove', points: [idOf(3), idOf(2)] },
      { kind: 'merge', points: [idOf(1), idOf(4), idOf(5)] },
    ]);
    expect(plans).toEqual([result.steps]);
    expect(result.merged).toMatchObject([{ points: [idOf(1), idOf(4), idOf(5)] }]);
    expect(result.merged[0]!.bytes).toBeLessThanOrEqual(result.writesBytes);
    await expectOnly(5, 6);
    expect(result.freedBytes).toBe(sizeBefore - (await archiveSize()));
    const before = await fileDigests(repository());
    expect(await pruneIt(), 'nothing more to do').toMatchObject({ steps: [], merged: [], freesBytes: 0 });
    expect(await fileDigests(repository())).toEqual(before);
    expect(await verify({ repository: repository(), threads: 1 })).toMatchObject({ ok: true });
    const next = await backUpGuests(folder, { vda: guest }, { level: 'incremental', since: 'cp-4' });
    expect(next.point.parent?.id).toBe(result.merged[0]!.into);
    expectSameBytes(await restoreBytes(repository(), 'guest@latest'), guest.content, 'the next point');
  });

  it('--dry-run gives the same plan and changes nothing, also while somebody holds the lock', async () => {
    const before = await fileDigests(repository());
    const { dryRun, elapsedMs, ...planned } = await pruneIt({ dryRun: true });
    expect(dryRun).toBe(true);
    expect(await fileDigests(repository())).toEqual(before);
    const machine = (await openRepository(repository())).machine('guest');
    await using lock = await machine.lock('backup');
    expect((await pruneIt({ dryRun: true })).steps).toEqual(planned.steps);
    expect(await codeOf(pruneIt())).toBe('LOCKED');
    await lock.release();
    const { steps, points: done } = await pruneIt();
    expect({ steps, points: done }).toEqual({ steps: planned.steps, points: planned.points });
  });

  it('leaves what somebody reads until the reader ends', async () => {
    const opened = await openRepository(repository());
    const reader = await opened.hold(`guest@${idOf(3)}`, 'restore of a test');
    const { held } = await pruneIt();
    expect(held.map(({ id }) => id).sort()).toEqual([1, 2, 3].map(idOf).sort());
    await reader[Symbol.asyncDispose]();
    await pruneIt();
    await expectOnly(5, 6);
  });
});

describe('a pinned point', () => {
  it('stays with what it needs, and its pin goes over to the merged point', async () => {
    const now = new Date('2026-11-24T00:00:00Z');
    const pinned = await pin({ repository: repository(), point: `guest@${idOf(3)}`, note: 'audit', now });
    expect(pinned).toMatchObject({ point: idOf(3), before: null, pin: { note: 'audit' } });
    const result = await pruneIt({ policy: { keepLast: 1 } });
    expect(fates(result).filter(fate => fate.startsWith('keep'))).toEqual([
      'keep pinned',
      'keep newest',
      'keep last',
    ]);
    expect(result.points[0]!.into, 'both branches need the full').toEqual([idOf(3), idOf(5)]);
    await expectOnly(3, 5, 6);
    const { pins } = await listing();
    const [merged] = result.merged;
    expect(pins).toEqual([{ point: merged!.into, created: now.toISOString(), note: 'audit', error: null }]);
    expect((await showPoint({ repository: repository(), point: `guest@${idOf(3)}` })).pin).toEqual(pins[0]);
    await unpin({ repository: repository(), point: `guest@${idOf(3)}` });
    await pruneIt({ policy: { keepLast: 1 } });
    await expectOnly(5, 6);
  });

  it('is left where it is by a merge over it', async () => {
    await pin({ repository: repository(), point: `guest@${idOf(2)}` });
    const ends = { from: idOf(1), to: idOf(3) };
    const { staying } = await merge({ repository: repository(), machine: 'guest', threads: 1, ...ends });
    expect(staying).toMatchObject([{ id: idOf(1) }, { id: idOf(2), why: 'it is pinned' }]);
    expect((await listing()).points.map(({ sequence }) => sequence)).toEqual([1, 2, 3, 4, 5, 6]);
  });

  it('can be pinned again with another note, and unpinned twice', async () => {
    const point = `guest@${idOf(2)}`;
    await pin({ repository: repository(), point, note: 'one' });
    const again = await pin({ repository: repository(), point, note: 'two' });
    expect(again).toMatchObject({ before: { note: 'one' }, pin: { note: 'two' } });
    const without = await pin({ repository: repository(), point });
    expect(without.pin, 'a note is not lost by pinning again').toEqual(again.pin);
    await writeFile(inMachine(idOf(2), 'pinned.json'), '{');
    expect((await pin({ repository: repository(), point, note: 'two' })).before?.error).toContain('JSON');
    expect(await unpin({ repository: repository(), point })).toMatchObject({
      before: { note: 'two' },
      pin: null,
    });
    expect(await unpin({ repository: repository(), point })).toMatchObject({ before: null, pin: null });
    expect(await codeOf(pin({ repository: repository(), point, note: 'x'.repeat(1025) }))).toBe('USAGE');
    expect(await codeOf(pin({ repository: repository(), point: 'guest@2019' }))).toBe('POINT_UNKNOWN');
  });
});

describe('nothing is touched when', () => {
  it.each<[string, string, () => Promise<unknown>]>([
    ['a point cannot be read', 'DATA_DAMAGED', () => writeFile(inMachine(idOf(2), 'manifest.json'), '{}')],
    ['a pin cannot be read', 'REPOSITORY_INVALID', () => writeFile(inMachine(idOf(2), 'pinned.json'), '{')],
    [
      'a pin is of a newer version',
      'FORMAT_UNSUPPORTED',
      () => writeFile(inMachine(idOf(2), 'pinned.json'), '{"format":"nbdelta-pin","version":2}'),
    ],
    ['a pin is a folder', 'STORAGE_FAILED', () => mkdir(inMachine(idOf(2), 'pinned.json'))],
    [
      'a pin is a link to nowhere',
      'STORAGE_FAILED',
      () => symlink('/nonexistent', inMachine(idOf(2), 'pinned.json')),
    ],
    ['a kept point is torn', 'CHAIN_TORN', () => truncate(inMachine(idOf(6), 'vda.0001.tar'), 1000)],
    ['what a kept point needs is torn', 'CHAIN_TORN', () => rm(inMachine(idOf(1), 'vda.0001.tar'))],
    ['what a kept point needs is gone', 'CHAIN_MISSING', () => rm(inMachine(idOf(4)), { recursive: true })],
    ['the newest point is gone', 'CHAIN_MISSING', () => rm(inMachine(idOf(5)), { recursive: true })],
  ])('%s', async (_, code, harm) => {
    await harm();
    const before = await fileDigests(repository());
    for (const dryRun of [true, false]) {
      await expect(pruneIt({ dryRun })).rejects.toMatchObject({
        code,
        message: expect.stringMatching(/^nothing is pruned, because [^\n]+$/),
      });
    }
    expect(await fileDigests(repository())).toEqual(before);
  });

  it('the policy keeps nothing, or the machine is unknown', async () => {
    expect(await codeOf(pruneIt({ policy: {} }))).toBe('USAGE');
    expect(await codeOf(pruneIt({ policy: { keepLast: 0 } }))).toBe('USAGE');
    expect(await codeOf(pruneIt({ machine: 'other' }))).toBe('MACHINE_UNKNOWN');
  });

  it('a damaged point that nothing needs is no hindrance', async () => {
    await rm(inMachine(idOf(3), 'vda.0001.tar'));
    await pruneIt();
    await expectOnly(5, 6);
  });
});

describe('cut off', () => {
  /** Fails the next time that something is done to a path that ends so. */
  function failing(action: 'putExclusive' | 'replace', end: string): LocalBackend {
    const backend = new LocalBackend(repository());
    const real = backend[action].bind(backend) as (...args: unknown[]) => Promise<never>;
    backend[action] = async (...args: unknown[]) => {
      if (String(args[0]).endsWith(end)) throw new Error('cut off');
      return await real(...args);
    };
    return backend;
  }

  it.each<[string, Parameters<typeof failing>]>([
    ['while a removed point is hidden', ['replace', 'machine.json']],
    ['before a merged point is committed', ['putExclusive', 'manifest.json']],
  ])('%s: every kept point can be read, and the next run does the rest', async (_, where) => {
    const cut = await openRepository(failing(...where));
    await expect(pruneIt({ repository: cut })).rejects.toThrow('cut off');
    for (const number of [5, 6]) await expectReads(number);
    await pruneIt();
    await expectOnly(5, 6);
  });

  it('on request between two steps, it says how far it came', async () => {
    const stop = new AbortController();
    const stopped = pruneIt({ signal: stop.signal, onStep: () => stop.abort() });
    await expect(stopped).rejects.toMatchObject({
      code: 'ABORTED',
      message: expect.stringContaining('1 of 2 steps were done'),
    });
    await pruneIt();
    await expectOnly(5, 6);
  });
});

it('every machine of a repository by itself: one that is damaged does not keep the others from it', async () => {
  await backUpGuests(folder, { vda: new TrackedGuest(FRAME) }, { machine: 'broken' });
  const [id] = (await readdir(folder.file('repo', 'broken'))).filter(name => name.includes('Z-'));
  await writeFile(folder.file('repo', 'broken', id!, 'pinned.json'), 'null');
  const told: string[] = [];
  const result = await pruneAll({
    ...{ repository: repository(), policy: POLICY, threads: 1 },
    onFailure: ({ machine }) => void told.push(machine),
  });
  expect(result.machines.map(({ machine }) => machine)).toEqual(['guest']);
  expect(result.failures).toMatchObject([{ machine: 'broken', error: { code: 'REPOSITORY_INVALID' } }]);
  expect(told).toEqual(['broken']);
  await rm(folder.file('repo', 'broken'), { recursive: true });
  await expectOnly(5, 6);
});
