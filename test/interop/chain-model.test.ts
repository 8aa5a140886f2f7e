/**
 * A whole chain against a plain model: whatever was done to it, in whatever order, every point reads as the disk was at
 * its time. New kinds of steps go into `test/support/chain-model/steps.ts`.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { anyStep, play, type Step } from '../support/chain-model/steps.js';
import { ChainWorld } from '../support/chain-model/world.js';
import { tempFolder } from '../support/temp-folder.js';

const FULL: Step = { name: 'backup', with: 'full' };

async function playAll(steps: readonly Step[]): Promise<readonly string[]> {
  await using folder = await tempFolder();
  const world = new ChainWorld(folder);
  for (const step of [FULL, ...steps]) await play(world, step);
  for (const repository of [world.where.repository, ...world.copies]) await world.checkRestores(repository);
  return world.done;
}

it('any sequence of steps, compared after each', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(anyStep, { minLength: 6, maxLength: 12 }), async steps => {
      await playAll(steps);
    }),
    { numRuns: 2, endOnFailure: true },
  );
}, 120_000);

it('one of every kind', async () => {
  const range = (at: number) => ({ at, length: 70_000, seed: at });
  const steps: Step[] = [
    { name: 'write', with: range(1000) },
    { name: 'backup', with: 'incremental' },
    { name: 'zero', with: range(50_000) },
    { name: 'backup', with: 'auto' },
    { name: 'resize', with: 350_001 },
    { name: 'write', with: range(330_000) },
    { name: 'rescan', with: null },
    { name: 'diff', with: [0, 3] },
    { name: 'copy', with: 2 },
    { name: 'merge', with: { from: 1, count: 1, intoFull: false } },
    { name: 'copy', with: 1 },
    { name: 'export', with: 1 },
    { name: 'prune', with: 2 },
    { name: 'backup', with: 'auto' },
  ];
  expect(await playAll(steps)).toHaveLength(steps.length + 1);
}, 60_000);
