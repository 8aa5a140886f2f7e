/** Torn and damaged archives: what is salvaged is what was there, and everything else is said to be lost. */
import { randomBytes } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { merge, type SalvageResult, salvage } from '#nbdelta/index.js';
import { SeededRandom } from '../../support/random.js';
import { codeOf, expectSameBytes } from '../../support/restore-check.js';
import { type TempFolder, tempFolder } from '../../support/temp-folder.js';
import { backUpGuests, TrackedGuest } from '../../support/tracked-guest.js';

const FRAME = 65_536;
const FRAMES = 50;
const SIZE = FRAMES * FRAME + 300_000;

let folder: TempFolder;
let content: Buffer;
let full: Buffer;
let incremental: Buffer;
let runs = 0;

beforeAll(async () => {
  folder = await tempFolder();
  const guest = new TrackedGuest(SIZE);
  guest.write(0, randomBytes(FRAMES * FRAME));
  guest.zero(200_000, 150_000);
  content = Buffer.from(guest.content);
  const take = async () => {
    const { point } = await backUpGuests(folder, { vda: guest }, { frameSize: FRAME, threads: 1 });
    return await readFile(folder.file('repo', 'guest', point.id, 'vda.0001.tar'));
  };
  full = await take();
  guest.write(FRAME, randomBytes(2 * FRAME));
  guest.zero(7 * FRAME, FRAME);
  incremental = await take();
});
afterAll(() => folder[Symbol.asyncDispose]());

async function salvageBytes(volume: Uint8Array): Promise<{ result: SalvageResult; bytes: Buffer }> {
  const [from, to] = [folder.file(`in-${++runs}.tar`), folder.file(`out-${runs}.raw`)];
  await writeFile(from, volume);
  const result = await salvage({ volumes: [from], to, threads: 1 });
  expect(JSON.parse(await readFile(`${to}.map.json`, 'utf8'))).toEqual(result);
  return { result, bytes: await readFile(to) };
}

/** Outside of what is lost or unknown: the very bytes. Inside of it: nothing. */
function expectHonest({ result, bytes }: Awaited<ReturnType<typeof salvageBytes>>): void {
  expect(bytes.length).toBe(SIZE);
  const expected = Buffer.from(content);
  for (const { offset, length } of [...result.lost, ...result.unknown])
    expected.fill(0, offset, offset + length);
  expectSameBytes(bytes, expected, 'salvaged');
  const told = result.salvaged + result.zero + result.lostBytes + result.unknownBytes;
  expect(told).toBe(SIZE);
}

describe('salvage', () => {
  it('a whole archive: everything', async () => {
    const whole = await salvageBytes(full);
    expect(whole.result).toMatchObject({
      complete: true,
      from: 'index',
      lost: [],
      unknown: [],
      full: true,
      disk: 'vda',
    });
    expectHonest(whole);
  });

  it('cut anywhere: the packs before the cut, and what comes after is unknown', async () => {
    const random = new SeededRandom(20_261_124);
    const cuts = [0, 1, 511, 600, 2000, full.length - 1, full.length - 2048, full.length - 2049];
    for (let more = 0; more < 12; more++) cuts.push(random.below(full.length));
    let most = 0;
    for (const cut of cuts) {
      const part = full.subarray(0, cut);
      if (cut < 1_200_000) {
        // Not one pack is whole.
        const got = await salvageBytes(part).catch((error: { code: string }) => error.code);
        if (typeof got === 'string') expect(got).toBe('DATA_DAMAGED');
        else expectHonest(got);
        continue;
      }
      const cutShort = await salvageBytes(part);
      expect(cutShort.result).toMatchObject({ from: 'packs', complete: false });
      expectHonest(cutShort);
      most = Math.max(most, cutShort.result.salvaged);
    }
    expect(most).toBeGreaterThan(FRAMES * FRAME - 200_000);
  });

  it('bytes flipped anywhere: at most what they hit is lost', async () => {
    const random = new SeededRandom(4711);
    let lost = 0;
    for (let round = 0; round < 15; round++) {
      const damaged = Buffer.from(full);
      for (let flips = 0; flips <= round % 3; flips++)
        damaged[512 + random.below(full.length - 512)]! ^= 1 + random.below(255);
      const got = await salvageBytes(damaged);
      expectHonest(got);
      expect(got.result.lostBytes + got.result.unknownBytes).toBeLessThan(SIZE);
      lost += got.result.lostBytes;
    }
    expect(lost).toBeGreaterThan(0);
  });

  it('the beginning gone: the packs say where they belong', async () => {
    const damaged = Buffer.concat([randomBytes(700), full.subarray(700 + 333)]);
    const got = await salvageBytes(damaged);
    expect(got.result).toMatchObject({ from: 'packs', full: null, disk: null });
    expect(got.result.salvaged).toBeGreaterThan(30 * FRAME);
    const { lost, unknown, size } = got.result;
    const expected = Buffer.from(content.subarray(0, size));
    for (const { offset, length } of [...lost, ...unknown]) expected.fill(0, offset, offset + length);
    expectSameBytes(got.bytes, expected, 'without a beginning');
  });

  it('a hole of zeroes in the middle, and the index gone', async () => {
    const damaged = Buffer.from(full.subarray(0, full.length - 3000));
    damaged.fill(0, 1_500_000, 1_700_000);
    const got = await salvageBytes(damaged);
    expectHonest(got);
    expect(got.result.lostBytes).toBeGreaterThan(100_000);
    expect(got.result.lost[0]!.why).toMatch(/does not match/);
  });

  it('an incremental: what changed; the rest is not said to be lost when the index is there', async () => {
    const { result } = await salvageBytes(incremental);
    expect(result).toMatchObject({
      complete: true,
      full: false,
      salvaged: 2 * FRAME,
      zero: FRAME,
      unknown: [],
    });
    const torn = await salvageBytes(incremental.subarray(0, incremental.length - 1000));
    expect(torn.result).toMatchObject({ complete: false, salvaged: 2 * FRAME, zero: FRAME });
    expect(torn.result.unknownBytes).toBe(SIZE - 3 * FRAME);
  });

  it('a merged archive, whose extents may lie in frames of earlier packs', async () => {
    await using own = await tempFolder();
    const guest = new TrackedGuest(SIZE);
    guest.write(0, randomBytes(FRAMES * FRAME));
    const backUp = () => backUpGuests(own, { vda: guest }, { frameSize: 4 * FRAME, threads: 1 });
    const { point } = await backUp();
    for (let at = FRAME; at < FRAMES * FRAME; at += 5 * FRAME) guest.write(at, randomBytes(FRAME));
    await backUp();
    const merged = await merge({ repository: own.file('repo'), machine: 'guest', from: point.id });
    const volume = await readFile(own.file('repo', 'guest', merged.point.id, 'vda.0001.tar'));
    content = Buffer.from(guest.content);
    expectHonest(await salvageBytes(volume.subarray(0, volume.length - 600)));
  });

  it('what is no archive, is not there, or would be overwritten', async () => {
    const before = await readdir(folder.path);
    const options = { to: folder.file('never.raw'), threads: 1 };
    await writeFile(folder.file('noise'), randomBytes(100_000));
    expect(await codeOf(salvage({ ...options, volumes: [folder.file('noise')] }))).toBe('DATA_DAMAGED');
    expect(await codeOf(salvage({ ...options, volumes: [folder.file('none')] }))).toBe('STORAGE_FAILED');
    expect(await codeOf(salvage({ ...options, volumes: [] }))).toBe('USAGE');
    expect(await codeOf(salvage({ volumes: [folder.file('noise')], to: folder.file('noise') }))).toBe(
      'DATA_DAMAGED',
    );
    expect((await readdir(folder.path)).sort()).toEqual([...before, 'noise'].sort());
  });
});
