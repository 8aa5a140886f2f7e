import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { verify } from '#nbdelta/index.js';
import { codeOf } from '../../support/restore-check.js';
import { type TempFolder, tempFolder } from '../../support/temp-folder.js';
import { backUpGuests, TrackedGuest } from '../../support/tracked-guest.js';

let folder: TempFolder;
const points: string[] = [];
beforeAll(async () => {
  folder = await tempFolder();
  const guest = new TrackedGuest(2 ** 23);
  guest.write(0, randomBytes(2 ** 23));
  points.push((await backUpGuests(folder, { vda: guest }, { frameSize: 65_536, codec: 'none' })).point.id);
  guest.write(5, randomBytes(99_999));
  points.push((await backUpGuests(folder, { vda: guest })).point.id);
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

it('reports a volume that is gone in its point, and in every point that builds on it', async () => {
  await rm(folder.file('repo', 'guest', points[0]!, 'vda.0001.tar'));
  const { ok, problems } = await verify({ repository: folder.file('repo') });
  expect(ok).toBe(false);
  expect(problems.map(({ point, code }) => [point, code])).toEqual(
    points.map(point => [point, 'CHAIN_TORN']),
  );
});
