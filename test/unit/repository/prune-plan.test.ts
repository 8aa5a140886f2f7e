/** Plans of prune: after each step every kept point reads as before, and at the end nothing else is left. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { openChain } from '#nbdelta/repository/chain.js';
import type { ManifestInput, Point } from '#nbdelta/repository/manifest.js';
import { planMergePath } from '#nbdelta/repository/merge-path.js';
import { type PruneStep, planPrune } from '#nbdelta/repository/prune-plan.js';
import { supersededIds } from '#nbdelta/repository/superseded.js';
import {
  chainPoint,
  failedDisk,
  sampleArchiveId,
  sampleDisk,
  sampleId,
  samplePoint,
} from './sample-manifest.js';

const DISKS = ['vda', 'vdb'];

/** Points, and for each archive the bytes that it has, as a text: a disk's content is that of its whole chain. */
class Model {
  points: Point[];
  readonly #archives = new Map<string, string>();
  #merges = 0;

  constructor(points: readonly Point[]) {
    this.points = [...points];
    for (const { manifest } of points) {
      for (const disk of manifest.disks) {
        if (disk.status === 'stored') {
          this.#archives.set(disk.archive.archiveId, `${disk.name}${manifest.sequence} `);
        }
      }
    }
  }

  /** The point that is or stands for `id`. */
  find(id: string): Point | undefined {
    return this.points.find(
      ({ manifest }) => manifest.id === id || manifest.standsFor.some(entry => entry.id === id),
    );
  }

  /** What the disks of a point hold, by the project's own way to find a chain. */
  read(id: string): string[] {
    const point = this.find(id);
    if (point === undefined) throw new Error(`point ${id} is gone`);
    return point.manifest.disks.map(({ name, status }) => {
      if (status === 'failed') return `${name} failed`;
      const links = openChain(this.points, point.manifest.id, name);
      return links.map(({ disk }) => this.#archives.get(disk.archive.archiveId)).join('');
    });
  }

  remove(id: string): void {
    this.points = this.points.filter(({ manifest }) => manifest.id !== id);
  }

  /** Does a step in the smallest parts that a crash may come between. */
  *take(step: PruneStep): Generator<void> {
    if (step.kind === 'remove') {
      for (const id of step.points) {
        this.remove(id);
        yield;
      }
      return;
    }
    this.points.push(this.#merge(step.points, step.replaces));
    // From its commit on nobody sees what a merged point replaces.
    const gone = supersededIds(this.points, null);
    this.points = this.points.filter(({ manifest }) => !gone.has(manifest.id));
    yield;
  }

  #merge(ids: readonly string[], replaces: readonly string[]): Point {
    const path = ids.map(id => this.points.find(({ manifest }) => manifest.id === id)!);
    const [oldest, newest] = [path[0]!.manifest, path.at(-1)!.manifest];
    expect(planMergePath(this.points, path[0]!, path.at(-1)!).replaced, 'a merge agrees').toEqual(replaces);
    for (const [index, { manifest }] of path.slice(1).entries()) {
      expect(this.find(manifest.parent!.id), 'a path is one').toBe(path[index]);
    }
    const number = 1000 + this.#merges++;
    const disks = newest.disks.map(disk => this.#mergeDisk(path, disk, number));
    const isBase = oldest.parent === null;
    return samplePoint({
      ...newest,
      ...{ id: sampleId(number), parent: oldest.parent, disks, features: ['stands-for'] },
      level: isBase ? 'full' : 'incremental',
      replaces: [...replaces],
      standsFor: [standIn(path.at(-1)!), ...newest.standsFor.map(entry => ({ ...entry }))],
      // A stand-in must be among what is replaced, also one of an earlier merge.
      ...(newest.standsFor.length > 0 && {
        replaces: [...new Set([...replaces, ...newest.standsFor.map(({ id }) => id)])],
      }),
    });
  }

  #mergeDisk(path: readonly Point[], disk: Point['manifest']['disks'][number], number: number) {
    if (disk.status === 'failed') return disk;
    const archiveId = sampleArchiveId(`${disk.name}-merged-${number}`);
    let content = '';
    let parentArchiveId: string | null = disk.archive.parentArchiveId;
    for (const { manifest } of [...path].reverse()) {
      const entry = manifest.disks.find(each => each.name === disk.name);
      if (entry?.status !== 'stored') break;
      content = this.#archives.get(entry.archive.archiveId)! + content;
      parentArchiveId = entry.archive.parentArchiveId;
      if (parentArchiveId === null) break;
    }
    this.#archives.set(archiveId, content);
    const level = parentArchiveId === null ? ('full' as const) : ('incremental' as const);
    return { ...disk, level, archive: { ...disk.archive, archiveId, parentArchiveId } };
  }
}

function standIn({ manifest, sha256 }: Point): NonNullable<ManifestInput['standsFor']>[number] {
  const stored = manifest.disks.flatMap(disk =>
    disk.status === 'stored' ? [[disk.name, disk.archive.archiveId] as const] : [],
  );
  return { id: manifest.id, manifestSha256: sha256, archives: Object.fromEntries(stored) };
}

interface Shape {
  /** Which earlier point it builds on, as a share; `null`: a full. */
  readonly on: number | null;
  readonly kind: 'incremental' | 'differential' | 'copy';
  /** Of its second disk. */
  readonly second: 'same' | 'full' | 'failed' | 'absent';
  readonly keep: boolean;
}

const shapes = fc.array(
  fc.record<Shape>({
    on: fc.option(fc.double({ min: 0, max: 0.999, noNaN: true }), { freq: 6 }),
    kind: fc.constantFrom('incremental', 'incremental', 'incremental', 'differential', 'copy'),
    second: fc.constantFrom('same', 'same', 'same', 'full', 'failed', 'absent'),
    keep: fc.boolean(),
  }),
  { minLength: 1, maxLength: 14 },
);

/** A forest: chains that branch, copies beside them, disks that begin anew, fail, or are not there. */
function grow(list: readonly Shape[]): Point[] {
  const points: Point[] = [];
  for (const [index, { on, kind, second }] of list.entries()) {
    const possible = points.filter(({ manifest }) => manifest.level !== 'copy');
    const isChild = kind !== 'copy' && on !== null && possible.length > 0;
    const parent = isChild ? possible[Math.floor(on * possible.length)]! : null;
    const level = kind === 'copy' ? 'copy' : parent === null ? 'full' : kind;
    points.push(growPoint(index + 1, parent, level, second));
  }
  return points;
}

function growPoint(
  number: number,
  parent: Point | null,
  level: 'full' | Shape['kind'],
  second: Shape['second'],
) {
  const point = chainPoint(number, parent, { level, disks: DISKS.slice(0, second === 'absent' ? 1 : 2) });
  if (second === 'same' || second === 'absent') return point;
  const disks = point.manifest.disks.map(disk => (disk.name === 'vdb' ? other(number, second) : disk));
  return samplePoint({ ...point.manifest, disks, partial: second === 'failed' });
}

function other(number: number, second: 'full' | 'failed'): ManifestInput['disks'][number] {
  if (second === 'failed') return failedDisk('vdb');
  const disk = sampleDisk('vdb', 'full');
  return { ...disk, archive: { ...disk.archive, archiveId: sampleArchiveId(`vdb-${number}`) } };
}

/** What every kept point holds, by the id that it had before. */
function contents(model: Model, kept: readonly string[]): Map<string, string[]> {
  return new Map(kept.map(id => [id, model.read(id)]));
}

/** Plans for the points that are or stand for the kept ones, and does up to `parts` parts of it. */
function prune(model: Model, kept: readonly string[], parts: number, check: () => void): boolean {
  const standing = kept.map(id => model.find(id)!.manifest.id);
  for (const step of planPrune(model.points, new Set(standing)).steps) {
    for (const _ of model.take(step)) {
      check();
      if (--parts === 0) return false;
    }
  }
  return true;
}

describe('a plan for any forest and any points to keep', () => {
  it('leaves every kept point as it was after each part, nothing else at the end, and may be cut off anywhere', () => {
    fc.assert(
      fc.property(shapes, fc.integer({ min: 1, max: 4 }), (list, parts) => {
        const points = grow(list);
        const kept = points.filter((_, index) => list[index]!.keep).map(({ manifest }) => manifest.id);
        const whole = new Model(points);
        const before = contents(whole, kept);
        const check = (model: Model) => () => {
          expect(contents(model, kept)).toEqual(before);
          // What is to go is whole as long as it can be seen.
          for (const { manifest } of model.points) model.read(manifest.id);
        };
        expect(prune(whole, kept, Number.POSITIVE_INFINITY, check(whole))).toBe(true);
        expect(whole.points).toHaveLength(kept.length);

        const broken = new Model(points);
        for (let run = 0; !prune(broken, kept, parts, check(broken)); run++) expect(run).toBeLessThan(100);
        expect(broken.points).toHaveLength(kept.length);
        check(broken)();
      }),
      { numRuns: 120 },
    );
  });

  it('of points that were merged before is as good', () => {
    fc.assert(
      fc.property(shapes, fc.array(fc.boolean(), { minLength: 14, maxLength: 14 }), (list, second) => {
        const points = grow(list);
        const first = points.filter((_, index) => list[index]!.keep).map(({ manifest }) => manifest.id);
        const model = new Model(points);
        prune(model, first, Number.POSITIVE_INFINITY, () => undefined);
        const fewer = first.filter((_, index) => second[index]);
        const before = contents(model, fewer);
        prune(model, fewer, Number.POSITIVE_INFINITY, () => expect(contents(model, fewer)).toEqual(before));
        expect(model.points).toHaveLength(fewer.length);
      }),
      { numRuns: 60 },
    );
  });
});

describe('a plan', () => {
  const chain = (length: number) => {
    const points = [chainPoint(1, null)];
    while (points.length < length) points.push(chainPoint(points.length + 1, points.at(-1)!));
    return points;
  };
  const plan = (points: readonly Point[], kept: readonly number[]) =>
    planPrune(points, new Set(kept.map(sampleId))).steps;

  it('is nothing to do when everything stays', () => {
    expect(plan(chain(3), [1, 2, 3])).toEqual([]);
  });

  it('merges forward what a kept point needs, each kept one by itself', () => {
    expect(plan(chain(5), [3, 5])).toEqual([
      {
        kind: 'merge',
        ...{ points: [1, 2, 3].map(sampleId), replaces: [1, 2, 3].map(sampleId), frees: 9, writes: 9 },
      },
      { kind: 'merge', points: [4, 5].map(sampleId), replaces: [4, 5].map(sampleId), frees: 6, writes: 6 },
    ]);
  });

  it('removes what nothing kept needs, youngest first, before it merges', () => {
    const steps = plan(chain(4), [2]);
    expect(steps[0]).toEqual({ kind: 'remove', points: [4, 3].map(sampleId), frees: 6 });
    expect(steps).toHaveLength(2);
  });

  it('takes what branches share into each, and lets it go with the last', () => {
    const [full, shared] = chain(2) as [Point, Point];
    const points = [full, shared, chainPoint(3, shared), chainPoint(4, shared)];
    expect(plan(points, [3, 4])).toMatchObject([
      { points: [1, 2, 3].map(sampleId), replaces: [sampleId(3)], frees: 3, writes: 9 },
      { points: [1, 2, 4].map(sampleId), replaces: [1, 2, 4].map(sampleId), frees: 9, writes: 9 },
    ]);
  });

  it('counts no bytes from before a full that a disk had on the way', () => {
    const [full] = chain(1) as [Point];
    const disks = [sampleDisk('vda', 'full'), { ...sampleDisk('vdb', 'incremental') }];
    const parent = { id: full.manifest.id, manifestSha256: full.sha256 };
    const point = samplePoint({ ...chainPoint(2, full).manifest, parent, disks });
    expect(plan([full, point], [2])).toMatchObject([{ frees: 9, writes: 6 }]);
  });

  it('is refused when a kept point builds on one that is missing, or that is another one', () => {
    const [, ...orphans] = chain(3);
    expect(() => plan(orphans, [3])).toThrow(expect.objectContaining({ code: 'CHAIN_MISSING' }));
    const stranger = chainPoint(1, null, { change: { checkpoint: 'another' } });
    expect(() => plan([stranger, ...orphans], [3])).toThrow(
      expect.objectContaining({ code: 'CHAIN_FOREIGN' }),
    );
    expect(plan([...orphans, chainPoint(9, null)], [9]), 'what is broken can go').toMatchObject([
      { kind: 'remove', points: [3, 2].map(sampleId) },
    ]);
  });
});
