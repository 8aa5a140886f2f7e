import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DamagedError, NbdeltaError } from '#nbdelta/errors.js';
import { ancestryOf } from '#nbdelta/repository/chain.js';
import type { PlannedDisk } from '#nbdelta/repository/disk-level.js';
import { type LevelRequest, planLevel } from '#nbdelta/repository/level.js';
import type { ManifestInput, Point, StoredDisk } from '#nbdelta/repository/manifest.js';
import {
  chainPoint,
  failedDisk,
  sampleDisk,
  sampleId,
  sampleManifest,
  samplePoint,
} from './sample-manifest.js';

const VDA: PlannedDisk = { name: 'vda', size: 1 << 20, bitmap: 'granted' };
const full = chainPoint(1, null);
const second = chainPoint(2, full);
const third = chainPoint(3, second);
const CHAIN = [full, second, third];

function plan(change: Partial<LevelRequest>) {
  return planLevel({ requested: 'auto', points: CHAIN, disks: [VDA], ...change });
}

function refusal(change: Partial<LevelRequest>) {
  return expect(() => plan(change));
}

const coded = (code: string) => expect.objectContaining({ code, hint: expect.any(String) });
const broken = (number: number) => ({
  id: sampleId(number),
  error: new DamagedError('its manifest is damaged'),
});
const linkTo = (point: Point) => ({ id: point.manifest.id, manifestSha256: point.sha256 });

describe('planLevel', () => {
  it.each(['full', 'copy'] as const)('%s has no parent, whatever there is', level => {
    const expected = { level, reason: null, parent: null, since: { kind: 'none', label: null, point: null } };
    expect(plan({ requested: level })).toMatchObject(expected);
    expect(plan({ requested: level, brokenPoints: [broken(3)], points: [third] })).toMatchObject(expected);
    expect(plan({ requested: level }).disks).toEqual([{ name: 'vda', level, method: null, reason: null }]);
  });

  it('incremental builds on the newest point that is no copy', () => {
    const points = [chainPoint(4, null, { level: 'copy' }), ...CHAIN];
    const expected = { level: 'incremental', parent: linkTo(third), since: { kind: 'asserted' } };
    expect(plan({ requested: 'incremental', points })).toMatchObject(expected);
    expect(plan({ points })).toMatchObject({ ...expected, reason: { code: 'auto' } });
  });

  it('differential builds on the newest full', () => {
    const expected = { level: 'differential', parent: linkTo(full), disks: [{ level: 'differential' }] };
    expect(plan({ requested: 'differential' })).toMatchObject(expected);
    const newFull = chainPoint(4, null);
    expect(plan({ requested: 'differential', points: [...CHAIN, newFull] }).parent).toEqual(linkTo(newFull));
  });

  it.each(['incremental', 'differential'] as const)(
    '%s without a full is refused, auto takes a full',
    level => {
      refusal({ requested: level, points: [] }).toThrow(coded('CHAIN_MISSING'));
      const copy = chainPoint(1, null, { level: 'copy' });
      refusal({ requested: level, points: [copy] }).toThrow(coded('CHAIN_MISSING'));
      expect(plan({ points: [copy] })).toMatchObject({ level: 'full', reason: { code: 'first' } });
      expect(plan({ points: [] })).toMatchObject({ level: 'full', reason: { code: 'first' } });
    },
  );
});

describe('since', () => {
  it.each([
    ['the parent by label', 'check-3', 3],
    ['the parent by id', sampleId(3), 3],
    ['latest', 'latest', 3],
    ['an ancestor', 'check-1', 1],
  ])('%s is taken', (_, since, number) => {
    const expected = { kind: 'point', label: `check-${number}`, point: sampleId(number) };
    expect(plan({ requested: 'incremental', since }).since).toEqual(expected);
    expect(plan({ since })).toMatchObject({ level: 'incremental', since: expected });
  });

  it('of an ancestor: that one is built on, as a disk that was rolled back has clean bits where later points differ', () => {
    for (const requested of ['auto', 'incremental'] as const) {
      expect(plan({ requested, since: 'check-2' }).parent).toEqual(linkTo(second));
      expect(plan({ requested, since: 'check-1' }).parent).toEqual(linkTo(full));
    }
    expect(plan({ since: 'check-2', maxChain: 3 }).level).toBe('incremental');
    expect(plan({ since: 'check-3', maxChain: 3 }).reason?.code).toBe('max-chain');
  });

  it('of an ancestor: a disk that shrank since and grew again has lost what it held there', () => {
    const shrunk = sampleDisk('vda', 'full');
    const points = [...CHAIN, chainPoint(4, third, { change: { disks: [{ ...shrunk, size: 4096 }] } })];
    expect(plan({ since: 'check-1', points })).toMatchObject({
      level: 'incremental',
      parent: linkTo(points[3]!),
      disks: [{ method: 'rescan', reason: { code: 'disk-shrunk' } }],
    });
  });

  const side = chainPoint(4, full, { level: 'differential' });
  const copy = chainPoint(5, null, { level: 'copy' });
  const relabelled = chainPoint(6, null, { level: 'copy', change: { checkpoint: 'check-2' } });
  it.each<[string, string, Point[]]>([
    ['an unknown label', 'nobody', CHAIN],
    ['an unknown point', sampleId(9), CHAIN],
    ['a property of every object', 'constructor', CHAIN],
    ['a younger copy', 'check-5', [...CHAIN, copy]],
    ['a point on another branch', 'check-3', [...CHAIN, side]],
    ['a label that a younger point took over', 'check-2', [...CHAIN, relabelled]],
    ['a point of an older chain', 'check-3', [...CHAIN, chainPoint(7, null)]],
  ])('%s would lose changes: refused, and a rescan of the newest point with auto', (_, since, points) => {
    refusal({ requested: 'incremental', since, points }).toThrow(coded('CHAIN_ORDER'));
    const newest = points.findLast(point => point.manifest.level !== 'copy')!;
    expect(plan({ since, points })).toMatchObject({
      ...{
        level: 'incremental',
        parent: linkTo(newest),
        since: { kind: 'none' },
        reason: { code: 'rescan' },
      },
      disks: [{ level: 'incremental', method: 'rescan', reason: { code: 'since-mismatch' } }],
    });
  });

  it('of a differential is the full; a bitmap since a later incremental is refused', () => {
    expect(plan({ requested: 'differential', since: 'check-1' }).since.point).toBe(sampleId(1));
    refusal({ requested: 'differential', since: 'check-2' }).toThrow(coded('CHAIN_ORDER'));
    refusal({ requested: 'differential', since: 'latest' }).toThrow(coded('CHAIN_ORDER'));
  });
});

describe('auto', () => {
  it('counts points for --full-every, and no copies', () => {
    const copy = chainPoint(4, null, { level: 'copy' });
    expect(plan({ points: [...CHAIN, copy], fullEvery: 4 }).level).toBe('incremental');
    expect(plan({ fullEvery: 3 })).toMatchObject({ level: 'full', reason: { code: 'full-every' } });
    expect(plan({ points: [...CHAIN, chainPoint(5, null)], fullEvery: 3 }).level).toBe('incremental');
  });

  it('counts links for --max-chain', () => {
    expect(plan({ maxChain: 4 }).level).toBe('incremental');
    expect(plan({ maxChain: 3 })).toMatchObject({ level: 'full', reason: { code: 'max-chain' } });
    const differential = chainPoint(4, full, { level: 'differential' });
    expect(plan({ points: [...CHAIN, differential], maxChain: 3 }).level).toBe('incremental');
  });

  it.each<[string, Partial<LevelRequest>, string]>([
    ['a missing ancestor', { points: [full, third] }, 'CHAIN_MISSING'],
    ['a changed ancestor', { points: [{ ...full, sha256: '0'.repeat(64) }, second, third] }, 'CHAIN_FOREIGN'],
    ['a damaged point in the chain', { brokenPoints: [broken(2)] }, 'CHAIN_TORN'],
    ['a damaged point after the chain', { brokenPoints: [broken(4)] }, 'CHAIN_TORN'],
    ['nothing but a damaged point', { points: [], brokenPoints: [broken(1)] }, 'CHAIN_TORN'],
  ])('%s breaks the chain: a full; refused for an incremental', (_, change, code) => {
    expect(plan(change)).toMatchObject({ level: 'full', parent: null, reason: { code: 'chain-broken' } });
    refusal({ ...change, requested: 'incremental' }).toThrow(coded(code));
  });

  it('a damaged point of an older chain does not matter', () => {
    const points = [...CHAIN, chainPoint(5, null)];
    expect(plan({ points, brokenPoints: [broken(2), broken(4)] }).level).toBe('incremental');
  });
});

describe('disks of an incremental', () => {
  const disks = [sampleDisk('vda', 'full'), sampleDisk('vdb', 'full'), failedDisk('vdc', 'full')];
  const points = [samplePoint(sampleManifest(1, { partial: true, disks }))];
  const level = (change: Partial<PlannedDisk>, requested: LevelRequest['requested'] = 'auto') => {
    const request = { requested, points, disks: [VDA, { ...VDA, name: 'vdb', ...change }] };
    return plan(request).disks[1];
  };

  it.each<[string, Partial<PlannedDisk>]>([
    ['disk-new', { name: 'vdd' }],
    ['disk-failed-before', { name: 'vdc' }],
    ['chain-broken', { bitmap: 'missing', unreadableBase: { code: 'chain-broken', text: 'its index' } }],
  ])('%s: nothing to compare with, that disk in full, the others not', (code, change) => {
    expect(level(change)).toMatchObject({ level: 'full', method: null, reason: { code } });
    const request = { points, disks: [VDA, { ...VDA, name: 'vdb', ...change }], rescan: true };
    expect(plan(request).disks).toMatchObject([{ method: 'rescan' }, { level: 'full', reason: { code } }]);
  });

  it('a smaller one is compared with the base, whether it has a bitmap or not', () => {
    const expected = { level: 'incremental', method: 'rescan', reason: { code: 'disk-shrunk' } };
    const smaller = { size: (1 << 20) - 1 };
    expect(level(smaller)).toMatchObject(expected);
    expect(level({ ...smaller, bitmap: 'missing' }, 'incremental')).toMatchObject(expected);
  });

  it('a base that cannot be read does not matter where the bitmap will do', () => {
    const unreadableBase = { code: 'chain-broken', text: 'its index' };
    expect(level({ unreadableBase })).toMatchObject({ method: 'bitmap', reason: null });
  });

  it('disks that changed places: both compared, as bitmaps have one name on all disks', () => {
    const [one, two] = ['/images/one.qcow2', '/images/two.qcow2'];
    const stored = [sampleDisk('vda', 'full'), sampleDisk('vdb', 'full')];
    const known = [
      { ...stored[0]!, source: one },
      { ...stored[1]!, source: two },
    ];
    const planned = (...sources: string[]) =>
      plan({
        points: [samplePoint(sampleManifest(1, { disks: known }))],
        disks: sources.map((source, index) => ({ ...VDA, name: ['vda', 'vdb'][index]!, source })),
      });
    const swapped = { method: 'rescan', reason: { code: 'disk-swapped' } };
    expect(planned(two, one)).toMatchObject({ level: 'incremental', disks: [swapped, swapped] });
    expect(planned(one, one).disks.map(disk => disk.reason?.code)).toEqual([undefined, 'disk-swapped']);
    expect(planned('/moved/one.qcow2', two).disks.map(disk => disk.method)).toEqual(['bitmap', 'bitmap']);
  });

  it('a grown disk stays incremental', () => {
    expect(level({ size: 1 << 21 })).toEqual({
      ...{ name: 'vdb', level: 'incremental', method: 'bitmap', reason: null },
    });
  });

  it.each(['missing', 'notRequested'] as const)(
    'bitmap %s: compared with auto, otherwise refused',
    bitmap => {
      const compared = { level: 'incremental', method: 'rescan', reason: { code: 'bitmap-missing' } };
      expect(level({ bitmap })).toMatchObject(compared);
      expect(() => level({ bitmap }, 'incremental')).toThrow(coded('NBD_CONTEXT_MISSING'));
      expect(() => level({ bitmap }, 'differential')).toThrow(coded('NBD_CONTEXT_MISSING'));
    },
  );

  it('with every disk in full the point is a full', () => {
    const all = plan({ disks: [{ ...VDA, name: 'vdd' }] });
    const expected = { level: 'full', parent: null, reason: { code: 'disk-new' }, since: { kind: 'none' } };
    expect(all).toMatchObject(expected);
  });
});

describe('rescan', () => {
  const noBitmap = { code: 'no-persistent-bitmap', text: 'raw' };

  it('without any bitmap builds on the newest point, whatever the bitmaps would have recorded since', () => {
    const bare = { ...VDA, bitmap: 'missing' as const };
    const expected = {
      ...{ level: 'incremental', reason: { code: 'rescan' }, parent: linkTo(third) },
      since: { kind: 'none', label: null, point: null },
    };
    for (const since of [undefined, 'check-3', 'check-1']) {
      expect(plan({ disks: [bare], ...(since && { since }) })).toMatchObject({
        ...expected,
        disks: [{ level: 'incremental', method: 'rescan', reason: { code: 'bitmap-missing' } }],
      });
    }
    expect(plan({ disks: [{ ...bare, noBitmap }] }).disks[0]?.reason).toEqual(noBitmap);
  });

  it('of one disk leaves the others their bitmaps, and what those are since', () => {
    const disks = [VDA, { ...VDA, name: 'vdb', bitmap: 'missing' as const, noBitmap }];
    const points = [chainPoint(1, null, { disks: ['vda', 'vdb'] })];
    points.push(chainPoint(2, points[0]!, { disks: ['vda', 'vdb'] }));
    expect(plan({ points, disks, since: 'check-1' })).toMatchObject({
      ...{ parent: linkTo(points[0]!), since: { kind: 'point', label: 'check-1' }, reason: { code: 'auto' } },
      disks: [{ method: 'bitmap' }, { method: 'rescan', reason: noBitmap }],
    });
  });

  it('that is asked for takes no bitmap; a full where there is nothing to compare with', () => {
    const asked = { disks: [{ method: 'rescan', reason: { code: 'rescan-requested' } }] };
    for (const requested of ['auto', 'incremental'] as const) {
      const expected = { ...asked, level: 'incremental', parent: linkTo(third), since: { kind: 'none' } };
      expect(plan({ requested, rescan: true })).toMatchObject(expected);
    }
    refusal({ requested: 'incremental', rescan: true, points: [] }).toThrow(coded('CHAIN_MISSING'));
    expect(plan({ rescan: true, points: [] })).toMatchObject({ level: 'full', reason: { code: 'first' } });
    const damaged = plan({ rescan: true, brokenPoints: [broken(2)] });
    expect(damaged).toMatchObject({ level: 'full', reason: { code: 'chain-broken' } });
  });

  it('counts as any other link for --full-every and --max-chain', () => {
    const bare = { disks: [{ ...VDA, bitmap: 'missing' as const }] };
    expect(plan({ ...bare, fullEvery: 3 })).toMatchObject({ level: 'full', reason: { code: 'full-every' } });
    expect(plan({ ...bare, maxChain: 4 }).level).toBe('incremental');
    // The bitmap's own point would be near enough, but it is the newest one that is compared with.
    const far = plan({ ...bare, since: 'check-1', maxChain: 3 });
    expect(far).toMatchObject({ level: 'full', reason: { code: 'max-chain' } });
  });

  it('an explicit delta has one disk by its bitmap at least, or is refused with what to do', () => {
    const bare = { ...VDA, name: 'vdb', bitmap: 'missing' as const, noBitmap };
    const points = [chainPoint(1, null, { disks: ['vda', 'vdb'] })];
    const mixed = plan({ requested: 'incremental', points, disks: [VDA, bare] });
    expect(mixed.disks.map(({ method }) => method)).toEqual(['bitmap', 'rescan']);
    refusal({ requested: 'incremental', points, disks: [bare] }).toThrow(
      expect.objectContaining({ code: 'NBD_CONTEXT_MISSING', hint: expect.stringContaining('--rescan') }),
    );
  });

  it('in between: bitmaps that began before it are not believed, as what spoke against them then does now', () => {
    const swapped = { ...(second.manifest.disks[0] as StoredDisk), method: 'rescan' as const, bitmap: null };
    const rescanned = chainPoint(2, full, { change: { disks: [swapped] } });
    const next = chainPoint(3, rescanned);
    for (const points of [
      [full, rescanned],
      [full, rescanned, next],
    ]) {
      const outdated = { method: 'rescan', reason: { code: 'disk-restarted' } };
      expect(plan({ points, since: 'check-1' })).toMatchObject({
        parent: linkTo(points.at(-1)!),
        disks: [outdated],
      });
      const differential = plan({ requested: 'differential', points, since: 'check-1' });
      expect(differential).toMatchObject({
        parent: linkTo(full),
        disks: [{ ...outdated, level: 'differential' }],
      });
    }
    const expected = { parent: linkTo(rescanned), disks: [{ method: 'bitmap' }] };
    expect(plan({ points: [full, rescanned], since: 'check-2' })).toMatchObject(expected);
  });
});

describe('disks of a differential: what was seen of them since the full', () => {
  const change = (number: number, disks: ManifestInput['disks']) => ({
    change: { disks, partial: disks.some(disk => disk.status === 'failed'), sequence: number },
  });
  const base = chainPoint(1, null, { disks: ['vda', 'vdb'] });
  const [vda, vdb] = chainPoint(2, base, { disks: ['vda', 'vdb'] }).manifest.disks as [
    StoredDisk,
    StoredDisk,
  ];
  const anew = { ...vdb, level: 'full' as const, archive: { ...vdb.archive, parentArchiveId: null } };

  it.each<[string, ManifestInput['disks']]>([
    ['disk-shrunk', [vda, { ...vdb, size: 4096 }]],
    ['disk-new', [vda]],
    ['disk-failed-before', [vda, failedDisk('vdb')]],
    ['disk-restarted', [vda, anew]],
  ])('%s in between: that disk is compared, though it has its old size again', (code, disks) => {
    const points = [base, chainPoint(2, base, change(2, disks))];
    const planned = plan({ requested: 'differential', points, disks: [VDA, { ...VDA, name: 'vdb' }] });
    expect(planned.disks).toMatchObject([{ method: 'bitmap' }, { method: 'rescan', reason: { code } }]);
    expect(planned.parent).toEqual(linkTo(base));
  });

  it('a copy shows a size, too; that it lacks a disk says nothing', () => {
    const copy = (disks: readonly StoredDisk[]) =>
      chainPoint(2, null, {
        level: 'copy',
        change: {
          disks: disks.map(disk => ({
            ...disk,
            level: 'copy' as const,
            archive: { ...disk.archive, parentArchiveId: null },
          })),
        },
      });
    const request = { requested: 'differential' as const, disks: [VDA, { ...VDA, name: 'vdb' }] };
    expect(plan({ ...request, points: [base, copy([vda])] }).disks[1]?.method).toBe('bitmap');
    const small = copy([vda, { ...vdb, size: 4096 }]);
    expect(plan({ ...request, points: [base, small] }).disks[1]).toMatchObject({ method: 'rescan' });
  });

  it('is refused when a point in between is missing: what it saw is unknown', () => {
    refusal({ requested: 'differential', points: [full, third] }).toThrow(coded('CHAIN_MISSING'));
  });
});

describe('any history', () => {
  const step = fc.record({
    kind: fc.constantFrom('full', 'copy', 'incremental', 'differential', 'auto'),
    since: fc.option(fc.nat(25)),
    bitmap: fc.constantFrom('granted', 'missing'),
    fullEvery: fc.option(fc.integer({ min: 1, max: 6 })),
  });

  it('never plans a bitmap younger than the parent; what it plans can be committed and read', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 15 }), steps => {
        const points: Point[] = [];
        for (const { kind, since, bitmap, fullEvery } of steps) {
          const request = {
            requested: kind as LevelRequest['requested'],
            points,
            disks: [{ ...VDA, bitmap: bitmap as PlannedDisk['bitmap'] }],
            ...(since === null ? {} : { since: `check-${since}` }),
            ...(fullEvery === null ? {} : { fullEvery }),
          };
          let planned: ReturnType<typeof planLevel>;
          try {
            planned = planLevel(request);
          } catch (error) {
            expect(error).toBeInstanceOf(NbdeltaError);
            expect(kind === 'incremental' || kind === 'differential').toBe(true);
            continue;
          }
          const parent = points.find(point => point.manifest.id === planned.parent?.id) ?? null;
          expect(parent === null).toBe(planned.level === 'full' || planned.level === 'copy');
          expect(parent?.manifest.level).not.toBe('copy');
          if (planned.disks.some(disk => disk.method === 'bitmap') && parent !== null && since !== null) {
            expect(since).toBeLessThanOrEqual(parent.manifest.sequence);
            expect(ancestryOf(points, parent).map(point => point.manifest.id)).toContain(planned.since.point);
          }
          const reason = planned.reason;
          points.push(chainPoint(points.length + 1, parent, { level: planned.level, change: { reason } }));
        }
      }),
      { numRuns: 150 },
    );
  });
});
