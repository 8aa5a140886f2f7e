/** What a merge does to a repository: what it copies, what it leaves, what it refuses, what others see meanwhile. */
import { randomBytes } from 'node:crypto';
import { open, readdir, readFile, writeFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { listPoints, type Manifest, merge, verify } from '#nbdelta/index.js';
import { LocalBackend } from '#nbdelta/repository/local-backend.js';
import { openRepository } from '#nbdelta/repository/repository.js';
import { codeOf, expectSameBytes, fileDigests, restoreBytes } from '../../support/restore-check.js';
import { type TempFolder, tempFolder } from '../../support/temp-folder.js';
import { backUpGuests, TrackedGuest } from '../../support/tracked-guest.js';

const FRAME = 65_536;
const SIZE = 8 * FRAME;

let folder: TempFolder;
let guest: TrackedGuest;
/** Full, then three incrementals of one frame each. */
let points: Manifest[];
let contents: Buffer[];

const repository = () => folder.file('repo');
const take = async (options: Parameters<typeof backUpGuests>[2] = {}) => {
  const { point } = await backUpGuests(
    folder,
    { vda: guest },
    { frameSize: FRAME, threads: 1, checkpoint: `cp-${points.length}`, ...options },
  );
  points.push(point);
  contents.push(Buffer.from(guest.content));
  return point;
};
const mergeThem = (options: Partial<Parameters<typeof merge>[0]> = {}) =>
  merge({ repository: repository(), machine: 'guest', threads: 1, ...options });
const visible = async () =>
  (await listPoints({ repository: repository() }))[0]!.points.map(point => point.id);
const folders = async () => (await readdir(folder.file('repo', 'guest'))).filter(name => name.includes('Z-'));
const expectRestores = async (point: string, index: number) =>
  expectSameBytes(await restoreBytes(repository(), `guest@${point}`), contents[index]!, point);

beforeEach(async () => {
  folder = await tempFolder();
  guest = new TrackedGuest(SIZE);
  [points, contents] = [[], []];
  guest.write(0, randomBytes(SIZE));
  await take({ level: 'full' });
  for (const frame of [1, 2, 5]) {
    guest.write(frame * FRAME, randomBytes(FRAME));
    await take();
  }
});
afterEach(() => folder[Symbol.asyncDispose]());

describe('a merge of the middle of a chain', () => {
  it('copies frames as they are, and the chain goes on', async () => {
    const [full, first, second, third] = points as [Manifest, Manifest, Manifest, Manifest];
    const result = await mergeThem({ from: first.id, to: second.id });
    expect(result).toMatchObject({
      copiedFrames: 2,
      repackedFrames: 0,
      replaced: [first.id, second.id],
      held: [],
    });
    expect(result.point).toMatchObject({
      ...{ level: 'incremental', created: second.created, sequence: second.sequence, checkpoint: 'cp-2' },
      ...{ parent: { id: full.id }, reason: { code: 'merged' } },
    });
    expect(await visible()).toEqual([full.id, result.point.id, third.id]);
    expect((await folders()).sort()).toEqual([full.id, result.point.id, third.id].sort());
    await expectRestores(third.id, 3);
    await expectRestores(second.id, 2);
    expect(await codeOf(restoreBytes(repository(), `guest@${first.id}`))).toBe('POINT_UNKNOWN');
    guest.write(0, randomBytes(100));
    const next = await take({ since: 'cp-3', level: 'incremental' });
    await expectRestores(next.id, 4);
    expect(await verify({ repository: repository() })).toMatchObject({ ok: true });
  });

  it('of a rescanned one with others keeps bitmaps from before it in doubt; sizes in between leave no trace', async () => {
    guest.resize(5 * FRAME);
    const small = await take();
    guest.resize(SIZE);
    guest.write(6 * FRAME, randomBytes(10));
    const grown = await take();
    expect([small, grown].map(({ disks }) => disks[0]?.method)).toEqual(['rescan', 'bitmap']);
    const { point } = await mergeThem({ from: small.id, to: grown.id });
    expect(point.disks).toMatchObject([{ level: 'incremental', method: 'rescan' }]);
    await expectRestores(point.id, 5);
    const differential = await take({ level: 'differential', since: 'cp-0' });
    expect(differential.disks).toMatchObject([{ method: 'rescan', reason: { code: 'disk-restarted' } }]);
    await expectRestores(differential.id, 6);
    const full = await mergeThem({ from: points[0]!.id, to: point.id, into: 'full' });
    expect(full.point.disks[0]).not.toHaveProperty('method');
    await expectRestores(full.point.id, 5);
  });

  it('the origin of a frame survives any number of merges', async () => {
    const once = await mergeThem({ from: points[1]!.id, to: points[2]!.id });
    const twice = await mergeThem({ from: points[0]!.id, to: once.point.id });
    expect(twice.point).toMatchObject({ level: 'full', parent: null });
    expect(twice.point.standsFor.map(entry => entry.id)).toEqual([once.point.id, points[2]!.id]);
    await expectRestores(points[2]!.id, 2);
    await expectRestores(points[3]!.id, 3);
  });

  it('frames that are mostly dead are packed anew', async () => {
    const full = await take({ level: 'full', frameSize: 4 * FRAME });
    guest.write(0, randomBytes(3 * FRAME));
    await take();
    const result = await mergeThem({ from: full.id });
    expect(result).toMatchObject({ copiedFrames: 4, repackedFrames: 1, repackedBytes: FRAME });
    await expectRestores('latest', 5);
  });
});

describe('--into full', () => {
  it('makes a full of the newest, and leaves what is before it', async () => {
    const { point, replaced } = await mergeThem({ into: 'full' });
    expect(replaced).toEqual([points[3]!.id]);
    expect(point).toMatchObject({ level: 'full', parent: null, checkpoint: 'cp-3' });
    expect(await visible()).toEqual([...points.slice(0, 3).map(each => each.id), point.id]);
    for (const [index, each] of points.entries()) await expectRestores(each.id, index);
    guest.write(7, randomBytes(7));
    expect(await take({ since: points[3]!.id })).toMatchObject({
      level: 'incremental',
      parent: { id: point.id },
    });
    await expectRestores('latest', 4);
  });

  it('of a full is refused', async () => {
    expect(await codeOf(mergeThem({ into: 'full', to: points[0]!.id }))).toBe('USAGE');
  });
});

describe('what stays', () => {
  it('a point that another branch builds on', async () => {
    guest.write(0, randomBytes(SIZE));
    const branch = await take({ level: 'incremental', since: 'cp-1' });
    expect(branch.parent?.id).toBe(points[1]!.id);
    const { staying, replaced } = await mergeThem({ from: points[1]!.id, to: points[3]!.id });
    expect(staying).toEqual([{ id: points[1]!.id, why: `point ${branch.id} builds on it` }]);
    expect(replaced).toEqual([points[2]!.id, points[3]!.id]);
    for (const index of [0, 1, 3, 4]) await expectRestores(points[index]!.id, index);
  });

  it('what somebody reads, until the reader ends; nobody new sees it', async () => {
    const opened = await openRepository(repository());
    const reader = await opened.hold(`guest@${points[2]!.id}`, 'restore of a test');
    const result = await mergeThem({ from: points[1]!.id, to: points[3]!.id });
    expect(result.held.map(({ id }) => id).sort()).toEqual([points[1]!.id, points[2]!.id].sort());
    expect(result.held[0]?.readers).toMatchObject([
      { record: { operation: 'restore of a test', pid: process.pid } },
    ]);
    expect(await visible()).toEqual([points[0]!.id, result.point.id]);
    const links = await reader.machine.openChain(reader.points, points[2]!.id, 'vda');
    expect(links.length).toBe(3);
    await reader[Symbol.asyncDispose]();
    await mergeThem({ into: 'full' });
    expect(await folders()).not.toContain(points[1]!.id);
    await expectRestores('latest', 3);
  });

  it('a reader that died holds nothing', async () => {
    const opened = await openRepository(repository());
    await opened.hold('guest', 'restore');
    const name = (await readdir(folder.file('repo', 'guest'))).find(each => each.startsWith('reader-'))!;
    const path = folder.file('repo', 'guest', name);
    const lease = JSON.parse(await readFile(path, 'utf8'));
    await writeFile(path, JSON.stringify({ ...lease, processStart: '1' }));
    expect(await mergeThem({ from: points[1]!.id })).toMatchObject({ held: [] });
    expect(await readdir(folder.file('repo', 'guest'))).not.toContain(name);
  });

  it('a lease that cannot be read holds everything', async () => {
    const name = 'reader-00000000-0000-0000-0000-000000000000.json';
    await writeFile(folder.file('repo', 'guest', name), '{');
    const { held } = await mergeThem({ from: points[1]!.id });
    expect(held.map(({ readers }) => readers)).toEqual(
      Array.from({ length: 3 }, () => [{ path: `guest/${name}`, record: null }]),
    );
  });
});

describe('a merge that ends early', () => {
  it('before the commit: nothing was changed, and the next one starts anew', async () => {
    const before = await fileDigests(repository());
    const failing = new LocalBackend(repository());
    failing.createVolume = () => Promise.reject(new Error('no volume'));
    await expect(
      mergeThem({ repository: await openRepository(failing), from: points[1]!.id }),
    ).rejects.toThrow();
    expect(await fileDigests(repository())).toEqual(before);
    await mergeThem({ from: points[1]!.id });
    await expectRestores('latest', 3);
  });

  it('stopped on request or killed: the same merge goes on, another one clears it away', async () => {
    const stop = new AbortController();
    const from = points[0]!.id;
    const onProgress = () => stop.abort();
    expect(await codeOf(mergeThem({ from, signal: stop.signal, onProgress }))).toBe('ABORTED');
    const [left] = (await folders()).filter(id => !points.some(point => point.id === id));
    const volume = folder.file('repo', 'guest', left!, 'vda.0001.tar');
    const before = await readFile(volume);
    expect(before.length).toBeGreaterThan(FRAME);
    expect(await visible()).toHaveLength(4);
    // What a kill leaves may end anywhere, and not all of it need have reached the disk.
    await writeFile(volume, Buffer.concat([before.subarray(0, 40_000), Buffer.alloc(20_000)]));
    await take();
    expect(await folders()).toContain(left);
    const { point } = await mergeThem({ from, to: points[3]!.id });
    expect(point.id).toBe(left);
    expect((await readFile(volume)).subarray(0, before.length - 4096)).toEqual(before.subarray(0, -4096));
    await expectRestores('latest', 4);
    await expectRestores(points[3]!.id, 3);
    expect(await readdir(folder.file('repo', 'guest', left!))).not.toContain('resume.json');
  });

  it('after the commit: the merged point counts, and what it replaces goes next time', async () => {
    const failing = new LocalBackend(repository());
    const { removeFolder } = failing;
    failing.removeFolder = path =>
      path.includes(points[1]!.id) ? Promise.reject(new Error('crash')) : removeFolder.call(failing, path);
    const { warnings } = await mergeThem({ repository: await openRepository(failing), from: points[1]!.id });
    expect(warnings).toMatchObject([{ code: 'replaced-not-removed' }]);
    expect(await visible()).toHaveLength(2);
    expect(await folders()).toContain(points[1]!.id);
    await expectRestores('latest', 3);
    await mergeThem({ into: 'full' });
    expect(await folders()).toHaveLength(2);
    expect(await verify({ repository: repository() })).toMatchObject({ ok: true });
  });
});

describe('what is refused, with nothing changed', () => {
  const refused = async (code: string, options: Parameters<typeof mergeThem>[0]) => {
    const before = await fileDigests(repository());
    expect(await codeOf(mergeThem(options))).toBe(code);
    expect(await fileDigests(repository())).toEqual(before);
  };

  it('unknown points and machines, one point, the wrong order', async () => {
    await refused('POINT_UNKNOWN', { from: '20200101T000000Z-00000000' });
    await refused('MACHINE_UNKNOWN', { machine: 'nobody', from: 'latest' });
    await refused('USAGE', { from: 'latest' });
    await refused('USAGE', {});
    await refused('CHAIN_ORDER', { from: points[2]!.id, to: points[1]!.id });
  });

  it('across a full, and a copy', async () => {
    await take({ level: 'full' });
    await take();
    await refused('CHAIN_ORDER', { from: points[1]!.id });
    const copy = await take({ level: 'copy' });
    await refused('USAGE', { from: points[0]!.id, to: copy.id });
  });

  it('a damaged frame; a point that cannot be read', async () => {
    const { archive } = points[2]!.disks[0] as Extract<Manifest['disks'][number], { status: 'stored' }>;
    const volume = await open(folder.file('repo', 'guest', points[2]!.id, archive.volumes[0]!.name), 'r+');
    await volume.write(Buffer.from([1, 2, 3]), 0, 3, 3000);
    await volume.close();
    await refused('DATA_DAMAGED', { from: points[1]!.id });
    await writeFile(folder.file('repo', 'guest', points[0]!.id, 'manifest.sha256'), 'nonsense');
    await refused('CHAIN_TORN', { from: points[1]!.id });
  });

  it('while somebody else holds the lock', async () => {
    const opened = await openRepository(repository());
    await using _lock = await opened.machine('guest').lock('backup');
    expect(await codeOf(mergeThem({ from: points[1]!.id }))).toBe('LOCKED');
  });
});
