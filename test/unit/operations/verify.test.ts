import { randomBytes } from 'node:crypto';
import { readdir, rm } from 'node:fs/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { verify } from '#nbdelta/index.js';
import { codeOf } from '../../support/restore-check.js';
import { type TempFolder, tempFolder } from '../../support/temp-folder.js';
import { backUpGuests, TrackedGuest } from '../../support/tracked-guest.js';

let folder: TempFolder;
beforeAll(async () => {
  folder = await tempFolder();
  const guest = new TrackedGuest(2 ** 23);
  guest.write(0, randomBytes(2 ** 23));
  await backUpGuests(folder, { vda: guest }, { frameSize: 65_536, codec: 'none' });
  guest.write(5, randomBytes(99_999));
  await backUpGuests(folder, { vda: guest });
});
afterAll(() => folder[Symbol.asyncDispose]());

it('stops on request in the middle, with nothing left under way', async () => {
  for (let stopAfter = 1; stopAfter < 100; stopAfter += 7) {
    const stop = new AbortController();
    let told = 0;
    const onProgress = () => void (++told === stopAfter && stop.abort());
    const verifying = verify({ repository: folder.file('repo'), signal: stop.signal, onProgress });
    expect(await codeOf(verifying)).toBe('ABORTED');
  }
});

it('counts what it looked at', async () => {
  const { points, archives, frames, ok } = await verify({ repository: folder.file('repo') });
  expect({ points, archives, ok }).toEqual({ points: 2, archives: 2, ok: true });
  expect(frames).toBeGreaterThanOrEqual(129);
});

it('lists a point without its manifest as nothing, and one whose volume is gone as a problem', async () => {
  const points = (await readdir(folder.file('repo', 'guest'))).filter(name => /^\d/.test(name)).sort();
  await rm(folder.file('repo', 'guest', points[0]!, 'vda.0001.tar'));
  const { ok, problems } = await verify({ repository: folder.file('repo') });
  expect(ok).toBe(false);
  expect(problems.map(({ point, code }) => [point, code])).toEqual(
    points.map(point => [point, 'CHAIN_TORN']),
  );
});
