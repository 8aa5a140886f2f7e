import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type ChainHandle, openChain } from '#nbdelta/index.js';
import { codeOf, expectSameBytes } from '../../support/restore-check.js';
import { type TempFolder, tempFolder } from '../../support/temp-folder.js';
import { backUpGuests, TrackedGuest } from '../../support/tracked-guest.js';

const SIZE = 300_001;

let folder: TempFolder;
let chain: ChainHandle;
const guest = new TrackedGuest(SIZE);
beforeAll(async () => {
  folder = await tempFolder();
  guest.write(1000, randomBytes(200_000));
  await backUpGuests(folder, { vda: guest });
  chain = await openChain({ repository: folder.file('repo'), point: 'guest', disk: 'vda' });
});
afterAll(async () => {
  await chain.close();
  await folder[Symbol.asyncDispose]();
});

it('refuses what is no range of the disk, before it takes memory for it', async () => {
  for (const [offset, length] of [
    [-1, 2],
    [0, -1],
    [0, SIZE + 1],
    [SIZE, 1],
    [Number.NaN, 1],
    [0.5, 1],
    [0, 2 ** 52],
    [2 ** 53, 1],
  ] as const) {
    expect(await codeOf(chain.read(offset, length)), `${offset}+${length}`).toBe('USAGE');
  }
});

it('reads any range, many at once, and nothing at the end', async () => {
  const ranges = Array.from(
    { length: 50 },
    (_, index) => [index * 6000, Math.min(9999, SIZE - index * 6000)] as const,
  );
  const read = await Promise.all(ranges.map(([offset, length]) => chain.read(offset, length)));
  for (const [index, [offset, length]] of ranges.entries()) {
    expectSameBytes(read[index]!, guest.content.subarray(offset, offset + length), `${offset}+${length}`);
  }
  expect(await chain.read(SIZE, 0)).toHaveLength(0);
});

it('closes twice, and is an error afterwards', async () => {
  const other = await openChain({ repository: folder.file('repo'), point: 'guest', disk: 'vda' });
  await other.close();
  await other.close();
  expect(await codeOf(other.read(1000, 10))).not.toBe('no error');
});
