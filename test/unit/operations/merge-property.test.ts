/** Any history with merges and prunes in it: every point that is left reads as the disk was, and the chain goes on. */
import { readdir } from 'node:fs/promises';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import {
  connect,
  diffPoints,
  listPoints,
  type Manifest,
  merge,
  prune,
  serve,
  verify,
} from '#nbdelta/index.js';
import { SeededRandom } from '../../support/random.js';
import { codeOf, expectSameBytes, restoreBytes, restoreIndependently } from '../../support/restore-check.js';
import { type TempFolder, tempFolder } from '../../support/temp-folder.js';
import { backUpGuests, socketPath, TrackedGuest } from '../../support/tracked-guest.js';

const SIZE = 400_000;

/** `rescan`: auto, compared whatever the bitmap says. */
type Level = 'auto' | 'full' | 'differential' | 'rescan';

type Step =
  | { readonly kind: 'write' | 'zero'; readonly at: number; readonly length: number; readonly seed: number }
  | { readonly kind: 'resize'; readonly size: number }
  | { readonly kind: 'backup'; readonly level: Level }
  | { readonly kind: 'prune'; readonly keepLast: number }
  | { readonly kind: 'merge'; readonly from: number; readonly count: number; readonly intoFull: boolean };

const nat = (max: number) => fc.integer({ min: 0, max });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constantFrom('write', 'zero'),
      ...{ at: nat(SIZE - 1), length: fc.integer({ min: 1, max: 150_000 }), seed: nat(2 ** 31) },
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('resize' as const),
      size: fc.integer({ min: 100_000, max: 500_000 }),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('backup' as const),
      level: fc.constantFrom<Level>('auto', 'auto', 'auto', 'auto', 'rescan', 'full', 'differential'),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('prune' as const), keepLast: fc.integer({ min: 1, max: 3 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('merge' as const),
      ...{ from: nat(20), count: nat(4), intoFull: fc.boolean() },
    }),
  },
);

class History {
  readonly #folder: TempFolder;
  readonly #guest = new TrackedGuest(SIZE);
  /** What the disk held, by the id that a point had when it was taken. */
  readonly #contents = new Map<string, Buffer>();
  merges = 0;

  constructor(folder: TempFolder) {
    this.#folder = folder;
  }

  get #repository(): string {
    return this.#folder.file('repo');
  }

  async play(next: Step): Promise<void> {
    if (next.kind === 'backup') return await this.backUp(next.level);
    if (next.kind === 'merge') return await this.#merge(next);
    if (next.kind === 'prune') return await this.#prune(next.keepLast);
    if (next.kind === 'resize') return this.#guest.resize(next.size);
    const at = next.at % this.#guest.size;
    const length = Math.min(next.length, this.#guest.size - at);
    if (next.kind === 'zero') this.#guest.zero(at, length);
    else this.#guest.write(at, new SeededRandom(next.seed).bytes(length));
  }

  async backUp(given: Level): Promise<void> {
    const content = Buffer.from(this.#guest.content);
    const level = given === 'rescan' ? 'auto' : given;
    const options = { level, rescan: given === 'rescan', frameSize: 65_536, threads: 1 };
    const { point } = await backUpGuests(this.#folder, { vda: this.#guest }, options);
    this.#contents.set(point.id, content);
  }

  async points(): Promise<readonly Manifest[]> {
    return (await listPoints({ repository: this.#repository }))[0]!.points;
  }

  async #merge({ from, count, intoFull }: Extract<Step, { kind: 'merge' }>): Promise<void> {
    const points = await this.points();
    const start = from % points.length;
    const [oldest, newest] = [points[start]!, points[Math.min(points.length - 1, start + count)]!];
    const options = { repository: this.#repository, machine: 'guest', threads: 1 };
    const ends = { from: oldest.id, to: newest.id };
    const code = await codeOf(
      merge({ ...options, ...ends, into: intoFull ? 'full' : undefined }).then(result => {
        this.merges++;
        this.#forget(newest.id, result.point.id, result.replaced);
      }),
    );
    expect(['no error', 'CHAIN_ORDER', 'USAGE']).toContain(code);
  }

  async #prune(keepLast: number): Promise<void> {
    const options = { repository: this.#repository, machine: 'guest', threads: 1 };
    const { points, merged } = await prune({ ...options, policy: { keepLast } });
    for (const { points: path, into } of merged) this.#forget(path.at(-1)!, into, [path.at(-1)!]);
    for (const { id, action } of points) if (action !== 'keep') this.#contents.delete(id);
  }

  /** The merged point reads as the newest one did; what it replaced besides is none any more. */
  #forget(newest: string, merged: string, replaced: readonly string[]): void {
    this.#contents.set(merged, this.#contents.get(newest)!);
    for (const id of replaced) this.#contents.delete(id);
  }

  /** By the indexes: nothing that differs is left out. By content: exactly what differs. */
  async #checkDifferences(ids: readonly string[]): Promise<void> {
    for (const [index, id] of ids.entries()) {
      const other = ids[(index * 7 + 1) % ids.length]!;
      const [before, after] = [this.#contents.get(other)!, this.#contents.get(id)!];
      const expected = differingUnits(before, after);
      const options = { repository: this.#repository, from: `guest@${other}`, to: `guest@${id}`, threads: 1 };
      expect(await this.#changedUnits({ ...options, content: true })).toEqual(expected);
      const mayDiffer = await this.#changedUnits(options);
      expect([...expected].filter(unit => !mayDiffer.has(unit))).toEqual([]);
    }
  }

  async #changedUnits(options: Parameters<typeof diffPoints>[0]): Promise<Set<number>> {
    const { disks } = await diffPoints(options);
    const units = new Set<number>();
    for (const { offset, length } of disks[0]!.extents()) {
      for (let unit = Math.floor(offset / 512); unit * 512 < offset + length; unit++) units.add(unit);
    }
    return units;
  }

  async check(): Promise<void> {
    const points = await this.points();
    expect(points.map(point => point.id).sort()).toEqual([...this.#contents.keys()].sort());
    for (const [id, content] of this.#contents) {
      expectSameBytes(await restoreBytes(this.#repository, `guest@${id}`), content, id);
    }
    await this.#checkDifferences(points.map(point => point.id));
    const last = points.at(-1)!.id;
    const listen = { kind: 'unix', path: socketPath(this.#folder) } as const;
    await using served = await serve({
      repository: this.#repository,
      point: `guest@${last}`,
      listen,
      threads: 1,
    });
    await using client = await connect(served.disks[0]!.uri);
    expectSameBytes(await client.read(0, client.size), this.#contents.get(last)!, `${last}, served`);
    const independent = await restoreIndependently(this.#repository, `guest@${last}`);
    expectSameBytes(independent, this.#contents.get(last)!, `${last}, with the independent script`);
    expect(await verify({ repository: this.#repository, threads: 1 })).toMatchObject({
      ok: true,
      problems: [],
    });
    const folders = (await readdir(`${this.#repository}/guest`)).filter(name => name.includes('Z-'));
    expect(folders.sort()).toEqual([...this.#contents.keys()].sort());
  }
}

/** 512-byte units that differ, and everything beyond the older disk's end. */
function differingUnits(before: Buffer, after: Buffer): Set<number> {
  const units = new Set<number>();
  for (let unit = 0; unit * 512 < after.length; unit++) {
    const [start, end] = [unit * 512, Math.min(after.length, unit * 512 + 512)];
    if (end > before.length || before.compare(after, start, end, start, end) !== 0) units.add(unit);
  }
  return units;
}

it('any sequence of writes, zeroes, backups, merges and prunes', async () => {
  let merges = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 6, maxLength: 24 }), async steps => {
      await using folder = await tempFolder();
      const history = new History(folder);
      await history.backUp('full');
      for (const next of steps) await history.play(next);
      await history.backUp('auto');
      await history.check();
      merges += history.merges;
    }),
    { numRuns: 6, endOnFailure: true },
  );
  expect(merges).toBeGreaterThan(0);
}, 120_000);
