import { readFile } from 'node:fs/promises';
import fc from 'fast-check';
import { copy, diffPoints, exportPoint, merge, prune } from '#nbdelta/index.js';
import { SeededRandom } from '../random.js';
import { codeOf, expectSameBytes } from '../restore-check.js';
import { backUpGuests } from '../tracked-guest.js';
import { type ChainWorld, DISK } from './world.js';

/** One thing that was done, as fast-check makes it and prints it. */
export interface Step {
  readonly name: string;
  readonly with: unknown;
}

interface StepKind {
  readonly name: string;
  readonly weight: number;
  readonly arbitrary: fc.Arbitrary<Step>;
  /** Whether it concerns the repository: then everything is compared afterwards. */
  readonly checked: boolean;
  play(world: ChainWorld, parameters: unknown): Promise<void>;
}

/**
 * A kind of step: how often it comes, what it is told, and what it does to the world. `guest` steps write to the disk only.
 */
function kind<Parameters>(
  name: string,
  weight: number,
  parameters: fc.Arbitrary<Parameters>,
  play: (world: ChainWorld, parameters: Parameters) => Promise<void> | void,
  what: 'guest' | 'repository' = 'repository',
): StepKind {
  return {
    name,
    weight,
    arbitrary: parameters.map(given => ({ name, with: given })),
    checked: what === 'repository',
    play: async (world, given) => await play(world, given as Parameters),
  };
}

const nat = fc.nat();
const range = fc.record({ at: nat, length: fc.integer({ min: 1, max: 150_000 }), seed: nat });
/** What may be refused: a merge across a full or of one point, an incremental without a parent. */
const REFUSALS = ['no error', 'CHAIN_ORDER', 'USAGE'];

function clip({ guest }: ChainWorld, { at, length }: { at: number; length: number }): [number, number] {
  const offset = at % guest.size;
  return [offset, Math.min(length, guest.size - offset)];
}

async function backUp(world: ChainWorld, options: { level: string; rescan?: boolean }): Promise<void> {
  const content = Buffer.from(world.guest.content);
  const settings = { frameSize: 65_536, threads: 1, ...options } as Parameters<typeof backUpGuests>[2];
  const { point } = await backUpGuests(world.folder, { [DISK]: world.guest }, settings);
  world.appeared(point.id, content);
}

const guestSteps = [
  kind(
    'write',
    4,
    range,
    (world, given) => {
      const [offset, length] = clip(world, given);
      world.guest.write(offset, new SeededRandom(given.seed).bytes(length));
    },
    'guest',
  ),
  kind('zero', 2, range, (world, given) => world.guest.zero(...clip(world, given)), 'guest'),
  kind('resize', 1, fc.integer({ min: 1, max: 400_000 }), (world, size) => world.guest.resize(size), 'guest'),
];

const repositorySteps = [
  kind(
    'backup',
    7,
    fc.constantFrom('auto', 'auto', 'auto', 'full', 'incremental', 'differential', 'copy'),
    (world, level) => backUp(world, { level }),
  ),
  kind('rescan', 2, fc.constant(null), world => backUp(world, { level: 'auto', rescan: true })),
  kind('merge', 2, fc.record({ from: nat, count: fc.nat(4), intoFull: fc.boolean() }), playMerge),
  kind('prune', 1, fc.integer({ min: 1, max: 4 }), async (world, keepLast) => {
    const { points, merged } = await prune({ ...world.where, policy: { keepLast } });
    for (const { points: path, into } of merged) {
      world.appeared(into, world.contentOf(path.at(-1)!));
      world.vanished([path.at(-1)!]);
    }
    world.vanished(points.filter(point => point.action !== 'keep').map(point => point.id));
  }),
  kind('diff', 1, fc.tuple(nat, nat), async (world, [one, other]) => {
    const [before, after] = [await world.pick(one), await world.pick(other)];
    const ends = { from: `guest@${before}`, to: `guest@${after}` };
    const { disks } = await diffPoints({ ...world.where, ...ends, content: true });
    expectOnlyThere(world.contentOf(before), world.contentOf(after), disks[0]!.extents());
  }),
  kind('copy', 1, nat, async (world, number) => {
    const to = world.folder.file('copies');
    const point = `guest@${await world.pick(number)}`;
    const code = await codeOf(copy({ ...world.where, point, to }));
    if (!REFUSALS.includes(code)) throw new Error(`copy of ${point}: ${code}`);
    world.copies.add(to);
  }),
  kind('export', 1, nat, async (world, number) => {
    const id = await world.pick(number);
    const to = world.folder.file(`export-${world.done.length}`);
    const { images } = await exportPoint({ ...world.where, point: `guest@${id}`, to, format: 'raw' });
    const bytes = await readFile(`${to}/${images[0]!.name}`);
    expectSameBytes(bytes, world.contentOf(id), `${id}, exported`);
  }),
];

async function playMerge(
  world: ChainWorld,
  { from, count, intoFull }: { from: number; count: number; intoFull: boolean },
): Promise<void> {
  const ids = (await world.points()).map(point => point.id);
  const start = from % ids.length;
  const [oldest, newest] = [ids[start]!, ids[Math.min(ids.length - 1, start + count)]!];
  const merging = merge({
    ...world.where,
    from: oldest,
    to: newest,
    ...(intoFull && { into: 'full' as const }),
  }).then(({ point, replaced }) => {
    world.appeared(point.id, world.contentOf(newest));
    world.vanished(replaced);
  });
  const code = await codeOf(merging);
  if (!REFUSALS.includes(code)) throw new Error(`merge of ${oldest} to ${newest}: ${code}`);
}

/** Bytes outside of `extents` are the same in both. */
function expectOnlyThere(
  before: Buffer,
  after: Buffer,
  extents: Iterable<{ readonly offset: number; readonly length: number }>,
): void {
  const patched = Buffer.alloc(after.length);
  before.copy(patched, 0, 0, after.length);
  for (const { offset, length } of extents) after.copy(patched, offset, offset, offset + length);
  // What the disk grew by reads as zeroes until something is written there: `patched` has zeroes too.
  expectSameBytes(patched, after, 'the difference laid over the older point');
}

const KINDS: readonly StepKind[] = [...guestSteps, ...repositorySteps];

/** Any step. */
export const anyStep: fc.Arbitrary<Step> = fc.oneof(
  ...KINDS.map(({ weight, arbitrary }) => ({ weight, arbitrary })),
);

/** Does a step and compares the world with the model. */
export async function play(world: ChainWorld, step: Step): Promise<void> {
  const found = KINDS.find(({ name }) => name === step.name)!;
  await found.play(world, step.with);
  world.done.push(step.name);
  if (found.checked) await world.check();
}
