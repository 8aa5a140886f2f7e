import { describe, expect, it } from 'vitest';
import { DamagedError } from '#nbdelta/errors.js';
import type { Point } from '#nbdelta/repository/manifest.js';
import type { UnreadablePoint } from '#nbdelta/repository/point-order.js';
import { parsePointSpec, resolvePoint } from '#nbdelta/repository/point-spec.js';
import { endOfNamedTime } from '#nbdelta/repository/point-time.js';
import { chainPoint } from './sample-manifest.js';

const IDS = ['20261120T173000Z-1a2b3c4d', '20261121T173000Z-2a2b3c4d', '20261122T173000Z-3a2b3c4d'];
const POINTS: Point[] = [];
for (const [index, id] of IDS.entries()) {
  const created = `2026-11-${20 + index}T17:30:00.000Z`;
  POINTS.push(chainPoint(index + 1, POINTS.at(-1) ?? null, { change: { id, created } }));
}
const copy = chainPoint(4, null, {
  level: 'copy',
  change: { id: '20261123T000000Z-4a2b3c4d', created: '2026-11-23T00:00:00.000Z' },
});

const resolve = (text: string, points = [copy, ...POINTS]) =>
  resolvePoint({ points, unreadable: [] }, 'web1', text).manifest.id;

describe('parsePointSpec', () => {
  it('takes MACHINE[@POINT] apart', () => {
    expect(parsePointSpec('web1')).toEqual({ machine: 'web1', point: 'latest' });
    expect(parsePointSpec('web1@2026-11-22T17:30')).toEqual({ machine: 'web1', point: '2026-11-22T17:30' });
    for (const bad of ['', '@latest', 'web1@', '../x@latest']) {
      expect(() => parsePointSpec(bad)).toThrow(expect.objectContaining({ code: 'USAGE' }));
    }
  });
});

describe('resolvePoint', () => {
  it.each([
    ['latest', IDS[2]],
    [IDS[0]!, IDS[0]],
    ['20261121', IDS[1]],
    ['20261123', copy.manifest.id],
    ['2026-11-22', IDS[2]],
    ['2026-11-22T17:30', IDS[2]],
    ['2026-11-22T17:30:00', IDS[2]],
    ['2026-11-22 17:30:00Z', IDS[2]],
    ['2026-11-22T17:29', IDS[1]],
    ['2026-11-22T18:29:59+01:00', IDS[1]],
    ['2026-11-22T18:30+01:00', IDS[2]],
    ['2026-11-23', copy.manifest.id],
    ['2027-01-01', copy.manifest.id],
  ])('%s is %s', (text, id) => {
    expect(resolve(text)).toBe(id);
  });

  it('latest is by sequence, not by clock', () => {
    const back = chainPoint(9, POINTS[2]!, { change: { created: '2020-01-01T00:00:00Z' } });
    expect(resolve('latest', [back, ...POINTS])).toBe(back.manifest.id);
  });

  it('POINT_AMBIGUOUS lists what fits, at most five', () => {
    const error = { code: 'POINT_AMBIGUOUS', fields: { points: IDS.slice(1), machine: 'web1' } };
    expect(() => resolve('2026112', POINTS.slice(1))).toThrow(expect.objectContaining(error));
    const many = Array.from({ length: 8 }, (_, index) => chainPoint(index + 1, null));
    expect(() => resolve('2026', many)).toThrow(/8 points .*, and 3 more$/);
  });

  it.each(['2026-11-19', '19', 'LATEST', '2026-02-31', ''])(
    'POINT_UNKNOWN for %j names the nearest',
    text => {
      const hint = expect.stringContaining(IDS[0]!);
      expect(() => resolve(text)).toThrow(expect.objectContaining({ code: 'POINT_UNKNOWN', hint }));
    },
  );

  it('says that there are none', () => {
    const error = { code: 'POINT_UNKNOWN', hint: 'It has no points yet.' };
    expect(() => resolve('latest', [])).toThrow(expect.objectContaining(error));
  });
});

describe('points that cannot be read', () => {
  const damaged = (id: string, sequence?: number) => ({
    id,
    error: new DamagedError(`${id} is damaged`),
    ...(sequence !== undefined && { sequence }),
  });
  const resolveWith = (text: string, ...unreadable: readonly UnreadablePoint[]) =>
    resolvePoint({ points: POINTS, unreadable }, 'web1', text).manifest.id;

  it('count when a prefix is looked up: ambiguous, or their own error', () => {
    const twin = damaged('20261122T180000Z-00000000');
    expect(() => resolveWith('20261122', twin)).toThrow(expect.objectContaining({ code: 'POINT_AMBIGUOUS' }));
    expect(() => resolveWith('20261122T18', twin)).toThrow('is damaged');
    expect(() => resolveWith(twin.id, twin)).toThrow('is damaged');
    expect(resolveWith('20261122T17', twin)).toBe(IDS[2]);
  });

  it('with a known sequence are judged by that, whatever the clock said', () => {
    const back = '20261101T000000Z-00000000';
    expect(() => resolveWith('latest', damaged(back, 9))).toThrow('is damaged');
    expect(() => resolveWith('2026-11-21', damaged(back, 9))).toThrow('is damaged');
    expect(resolveWith('latest', damaged('20261201T000000Z-00000000', 1))).toBe(IDS[2]);
  });

  it('are named when nothing else is left', () => {
    const list = { points: [], unreadable: [damaged(IDS[0]!)] };
    for (const text of ['latest', '2026-12-01', IDS[0]!.slice(0, 10)]) {
      expect(() => resolvePoint(list, 'web1', text)).toThrow('is damaged');
    }
  });
});

describe('endOfNamedTime', () => {
  it.each([
    ['2026-11-22', '2026-11-22T23:59:59.999Z'],
    ['2026-11-22T17:30', '2026-11-22T17:30:59.999Z'],
    ['2026-11-22T17:30:05', '2026-11-22T17:30:05.999Z'],
    ['2026-11-22T17:30:05.5Z', '2026-11-22T17:30:05.500Z'],
    ['2026-11-22T17:30:05.1239-02:00', '2026-11-22T19:30:05.123Z'],
    ['2028-02-29', '2028-02-29T23:59:59.999Z'],
  ])('%s ends at %s', (text, end) => {
    expect(new Date(endOfNamedTime(text)!).toISOString()).toBe(end);
  });

  it.each(['', 'latest', '20261122', '2026-02-29', '2026-13-01', '2026-11-22T25:00', '2026-11-22Z17:30'])(
    '%j is no time',
    text => {
      expect(endOfNamedTime(text)).toBeNull();
    },
  );
});
