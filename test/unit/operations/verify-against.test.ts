/** Samples, comparisons with live exports, and the verdicts that stay in the repository. */
import { randomBytes } from 'node:crypto';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { StorageError } from '#nbdelta/errors.js';
import { listPoints, type Manifest, type VerifyOptions, verify } from '#nbdelta/index.js';
import { LocalBackend } from '#nbdelta/repository/local-backend.js';
import { openRepository } from '#nbdelta/repository/repository.js';
import { codeOf } from '../../support/restore-check.js';
import { type TempFolder, tempFolder } from '../../support/temp-folder.js';
import { backUpGuests, served, TrackedGuest } from '../../support/tracked-guest.js';

const FRAME = 65_536;
const FRAMES = 40;

let folder: TempFolder;
let guest: TrackedGuest;
let full: Manifest;
let second: Manifest;

const take = async () => (await backUpGuests(folder, { vda: guest }, { frameSize: FRAME, threads: 1 })).point;
const check = (options: Partial<VerifyOptions> = {}) =>
  verify({ repository: folder.file('repo'), threads: 1, ...options });
const verdictOf = async (id: string) =>
  JSON.parse(await readFile(folder.file('repo', 'guest', id, 'verified.json'), 'utf8'));

beforeEach(async () => {
  folder = await tempFolder();
  guest = new TrackedGuest(FRAMES * FRAME + 1000);
  guest.write(0, randomBytes(FRAMES * FRAME));
  full = await take();
  guest.write(5 * FRAME, randomBytes(FRAME));
  second = await take();
});
afterEach(() => folder[Symbol.asyncDispose]());

async function flip(point: string, at: number): Promise<void> {
  const path = folder.file('repo', 'guest', point, 'vda.0001.tar');
  const bytes = await readFile(path);
  bytes[at]! ^= 1;
  await writeFile(path, bytes);
}

describe('verify --sample', () => {
  it('checks a share of the frames, at least one of each archive, and the same ones with the same seed', async () => {
    const result = await check({ sample: 0.25, seed: 7 });
    expect(result).toMatchObject({ ok: true, seed: 7, points: 2, archives: 2 });
    expect(result.frames).toBeGreaterThanOrEqual(2);
    expect(result.frames).toBeLessThan(FRAMES / 2);
    expect((await check({ sample: 0.25, seed: 7 })).frames).toBe(result.frames);
    expect((await check({ sample: 1e-9 })).frames).toBe(2);
    expect((await check({ sample: 1 })).frames).toBe(FRAMES + 1);
  });

  it('finds damage in a frame with some seed, and a damaged index with any', async () => {
    await flip(full.id, 20 * FRAME);
    const verdicts = new Set<boolean>();
    for (let seed = 1; verdicts.size < 2 && seed < 60; seed++) {
      verdicts.add((await check({ sample: 0.4, seed })).ok);
    }
    expect(verdicts).toEqual(new Set([true, false]));
    const { archive } = second.disks[0] as Extract<Manifest['disks'][number], { status: 'stored' }>;
    await flip(second.id, archive.index.offset);
    for (const seed of [1, 2, 3]) expect((await check({ sample: 0.01, seed })).ok).toBe(false);
  });

  it('refuses what is no share', async () => {
    for (const sample of [0, -1, 1.1, Number.NaN]) expect(await codeOf(check({ sample }))).toBe('USAGE');
    expect(await codeOf(check({ seed: 1 }))).toBe('USAGE');
  });
});

describe('verify --against', () => {
  const against = (point: string) =>
    served(folder, { vda: guest.snapshot() }, uriOf =>
      check({ point, against: [{ disk: 'vda', uri: uriOf('vda') }] }),
    );

  it('the same bytes: all is well, and zeroes on both sides are not read', async () => {
    const result = await against('guest');
    expect(result).toMatchObject({ ok: true, comparisons: [{ differing: 0, compared: FRAMES * FRAME }] });
    expect(await verdictOf(second.id)).toMatchObject({ how: 'against', result: 'ok', problems: 0 });
  });

  it('shows where it differs, to the sector, also in what is zero on one side', async () => {
    guest.write(1000, Buffer.from('x'));
    guest.zero(9 * FRAME, FRAME);
    guest.write(FRAMES * FRAME + 10, Buffer.from('beyond what was ever written'));
    const { ok, comparisons, problems } = await against('guest');
    expect(ok).toBe(false);
    expect(problems).toMatchObject([{ code: 'DATA_DIFFERS', disk: 'vda', point: second.id }]);
    expect(comparisons[0]!.first).toEqual([
      { offset: 512, length: 512 },
      { offset: 9 * FRAME, length: FRAME },
      { offset: FRAMES * FRAME, length: 512 },
    ]);
    expect(await verdictOf(second.id)).toMatchObject({ result: 'differs', problems: 1 });
  });

  it('an older point differs where it was written since; another size differs in what only one has', async () => {
    expect((await against(`guest@${full.id}`)).comparisons[0]).toMatchObject({
      first: [{ offset: 5 * FRAME, length: FRAME }],
    });
    guest.resize(guest.size + 4096);
    expect((await against('guest')).comparisons[0]).toMatchObject({
      sizes: { point: guest.size - 4096, live: guest.size },
      ...{ differing: 4096, first: [{ offset: guest.size - 4096, length: 4096 }] },
    });
    guest.resize(FRAME * FRAMES);
    expect((await against('guest')).comparisons[0]).toMatchObject({ differing: 1000 });
  });

  it('an export that cannot be reached is no difference; damage of the point is damage', async () => {
    const nowhere = [{ uri: `nbd+unix:///?socket=${folder.file('none')}` }];
    expect(await codeOf(check({ point: 'guest', against: nowhere }))).toBe('NBD_CONNECT_FAILED');
    await flip(full.id, 20 * FRAME);
    expect(await codeOf(against('guest'))).toBe('DATA_DAMAGED');
    expect(await codeOf(check({ against: nowhere }))).toBe('USAGE');
  });
});

describe('the verdict', () => {
  it('is of each point, and a damaged one says so', async () => {
    await check();
    expect(await verdictOf(full.id)).toMatchObject({ how: 'all', result: 'ok' });
    await flip(second.id, 3000);
    await check({ sample: 1 });
    expect(await verdictOf(second.id)).toMatchObject({
      how: 'sample',
      share: 1,
      result: 'damaged',
      problems: 1,
    });
    expect(await verdictOf(full.id)).toMatchObject({ result: 'ok' });
    const [listing] = await listPoints({ repository: folder.file('repo') });
    expect(listing!.verdicts[second.id]).toMatchObject({ result: 'damaged' });
  });

  it('that cannot be written is no failure; one that cannot be read is none', async () => {
    const readOnly = new LocalBackend(folder.file('repo'));
    readOnly.replace = () => Promise.reject(new StorageError('cannot replace: EROFS'));
    const result = await check({ repository: await openRepository(readOnly) });
    expect(result).toMatchObject({ ok: true, unrecorded: 'cannot replace: EROFS' });
    await writeFile(folder.file('repo', 'guest', full.id, 'verified.json'), '{"format": 1');
    const [listing] = await listPoints({ repository: folder.file('repo') });
    expect(listing!.verdicts).toEqual({});
    await rm(folder.file('repo', 'guest', full.id, 'verified.json'));
    expect(await check()).toMatchObject({ ok: true, unrecorded: null });
  });
});
