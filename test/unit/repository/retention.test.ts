/** Which points a policy keeps: restic's rules, in the order of sequences. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { UsageError } from '#nbdelta/errors.js';
import { parseKeepDuration, timeBefore } from '#nbdelta/repository/keep-duration.js';
import type { Point } from '#nbdelta/repository/manifest.js';
import { applyRetention } from '#nbdelta/repository/retention.js';
import { type RetentionPolicy, retentionRules } from '#nbdelta/repository/retention-rules.js';
import { chainPoint, sampleManifest, samplePoint } from './sample-manifest.js';

const NOW = new Date('2026-11-24T00:00:00Z');

/** Points in the order given, oldest first, by when they were taken. */
function pointsAt(times: readonly string[]): Point[] {
  return times.map((time, index) => {
    const created = new Date(`${time.replace(' ', 'T')}Z`).toISOString();
    return samplePoint(sampleManifest(index + 1, { created }));
  });
}

/** `time: reasons` of what is kept, oldest first. */
function keptOf(
  times: readonly string[],
  policy: RetentionPolicy,
  options: Parameters<typeof applyRetention>[2] = {},
): string[] {
  const verdicts = applyRetention(pointsAt(times), policy, { now: NOW, ...options });
  return verdicts.flatMap(({ keep, reasons }, index) =>
    keep ? [`${times[index]}: ${reasons.join(', ')}`] : [],
  );
}

/** Every weekday of two weeks but one Wednesday, and twice on Fridays. */
const WORKING_DAYS = [
  ...['2025-04-21 11:00', '2025-04-22 11:00', '2025-04-23 11:00', '2025-04-24 11:00', '2025-04-25 11:00'],
  ...['2025-04-25 23:00', '2025-04-28 11:00', '2025-04-29 11:00', '2025-05-01 11:00', '2025-05-02 11:00'],
  '2025-05-02 23:00',
];

describe('a policy keeps', () => {
  it('the newest of each day that has points, however long ago', () => {
    expect(keptOf(WORKING_DAYS, { keepDaily: 5 })).toEqual([
      '2025-04-25 23:00: daily',
      '2025-04-28 11:00: daily',
      '2025-04-29 11:00: daily',
      '2025-05-01 11:00: daily',
      '2025-05-02 23:00: daily',
    ]);
  });

  it('the newest of each day within a duration of the newest point, not of now', () => {
    expect(keptOf(WORKING_DAYS, { keepWithinDaily: '7d' })).toEqual([
      '2025-04-28 11:00: daily within 7d',
      '2025-04-29 11:00: daily within 7d',
      '2025-05-01 11:00: daily within 7d',
      '2025-05-02 23:00: daily within 7d',
    ]);
  });

  it('the last so many, the oldest as long as some are left, and all of them without a limit', () => {
    const days = ['2026-01-01', '2026-01-02', '2026-01-03'].map(day => `${day} 12:00`);
    expect(keptOf(days, { keepLast: 2 })).toEqual([`${days[1]}: last`, `${days[2]}: last`]);
    expect(keptOf(days, { keepLast: -1 })).toHaveLength(3);
    expect(keptOf(days, { keepMonthly: 1 })).toEqual([`${days[2]}: monthly`]);
    expect(keptOf(days, { keepMonthly: 2 })).toEqual([`${days[0]}: oldest monthly`, `${days[2]}: monthly`]);
  });

  it('what any rule wants, and says which', () => {
    expect(keptOf(WORKING_DAYS.slice(5), { keepLast: 1, keepWeekly: 2, keepWithin: '12h' })).toEqual([
      '2025-04-25 23:00: weekly',
      '2025-05-02 23:00: last, weekly, within 12h',
    ]);
  });

  it('by ISO weeks, from Monday, over the turn of a year', () => {
    // 2026-01-01 is a Thursday: its week began in 2025.
    const days = ['2025-12-28', '2025-12-29', '2026-01-01', '2026-01-04', '2026-01-05'].map(
      day => `${day} 00:00`,
    );
    expect(keptOf(days, { keepWeekly: 3 })).toEqual([
      `${days[0]}: weekly`,
      `${days[3]}: weekly`,
      `${days[4]}: weekly`,
    ]);
    expect(keptOf(days, { keepYearly: 2 })).toEqual([`${days[1]}: yearly`, `${days[4]}: yearly`]);
  });

  it('pinned points in any case; they count as any other', () => {
    const [first] = pointsAt(WORKING_DAYS);
    expect(keptOf(WORKING_DAYS, { keepLast: 1 }, { pinned: new Set([first!.manifest.id]) })).toEqual([
      `${WORKING_DAYS[0]}: pinned`,
      '2025-05-02 23:00: last',
    ]);
  });
});

describe('a clock that was wrong', () => {
  it('set back does not make the newest point an old one', () => {
    const times = ['2026-05-01 12:00', '2026-05-02 12:00', '2020-01-01 00:00'];
    expect(keptOf(times, { keepLast: 1 })).toEqual(['2020-01-01 00:00: last']);
    expect(keptOf(times, { keepDaily: 1 })).toEqual(['2020-01-01 00:00: daily']);
    expect(keptOf(times, { keepWithin: '1d' })).toEqual([
      '2026-05-02 12:00: within 1d',
      '2020-01-01 00:00: newest',
    ]);
  });

  it('set forward puts no other point out of reach, and a point from the future stays', () => {
    const times = ['2036-01-01 00:00', '2026-11-01 00:00', '2026-11-20 00:00'];
    expect(keptOf(times, { keepWithin: '7d' })).toEqual([
      '2036-01-01 00:00: within 7d',
      '2026-11-20 00:00: within 7d',
    ]);
    expect(keptOf(['2036-01-01 00:00', '2036-01-02 00:00'], { keepWithin: '1h' })).toHaveLength(2);
  });
});

it('the newest point of a chain stays, also when a copy is newer and all that the policy keeps', () => {
  const full = chainPoint(1, null);
  const copy = chainPoint(2, null, { level: 'copy' });
  const verdicts = applyRetention([full, copy], { keepLast: 1 }, { now: NOW });
  expect(verdicts.map(({ reasons }) => reasons)).toEqual([['newest'], ['last']]);
  const older = applyRetention([copy, chainPoint(3, null)], { keepLast: 1 }, { now: NOW });
  expect(
    older.map(({ keep }) => keep),
    'a copy goes like any other point',
  ).toEqual([false, true]);
});

it('what the next incremental begins with stays, when the newest point began no checkpoint', () => {
  const full = chainPoint(1, null);
  const first = chainPoint(2, full);
  const off = chainPoint(3, first, { change: { checkpoint: null } });
  const reasons = (points: readonly Point[]) =>
    applyRetention(points, { keepLast: 1 }, { now: NOW }).map(verdict => verdict.reasons.join());
  expect(reasons([full, first, off])).toEqual(['', 'base', 'last']);
  expect(reasons([full, first])).toEqual(['', 'last']);
});

describe('a policy is refused', () => {
  it.each<[string, RetentionPolicy]>([
    ['without a rule', {}],
    ['that keeps nothing', { keepLast: 0, keepDaily: 0, keepWithin: '0d' }],
    ['with a negative count', { keepLast: -2 }],
    ['with half a point', { keepDaily: 1.5 }],
    ['with no number', { keepDaily: Number.NaN }],
    ['with weeks', { keepWithin: '1w' }],
    ['with an empty duration', { keepLast: 1, keepWithinDaily: '' }],
  ])('%s', (_, policy) => {
    expect(() => retentionRules(policy)).toThrow(UsageError);
    expect(() => applyRetention([], policy)).toThrow(UsageError);
  });
});

describe('a duration', () => {
  it('is years, months, days and hours', () => {
    expect(parseKeepDuration('2y5m7d3h')).toEqual({ years: 2, months: 5, days: 7, hours: 3 });
    expect(parseKeepDuration('3h2y')).toEqual({ years: 2, months: 0, days: 0, hours: 3 });
  });

  it.each(['', '7', 'd', '-1d', '1d2d', '1 d', '1.5d', '7w', '1234567y', '1d\n'])('is not %j', text => {
    expect(() => parseKeepDuration(text)).toThrow(UsageError);
  });

  it.each([
    ['2026-03-31T12:00:00Z', '1m', '2026-03-03T12:00:00.000Z'],
    ['2024-03-31T12:00:00Z', '1m', '2024-03-02T12:00:00.000Z'],
    ['2026-01-15T02:00:00Z', '1y1m1d3h', '2024-12-13T23:00:00.000Z'],
    ['2024-02-29T00:00:00Z', '1y', '2023-03-01T00:00:00.000Z'],
  ])('before %s, %s is %s', (time, duration, before) => {
    expect(new Date(timeBefore(Date.parse(time), parseKeepDuration(duration))).toISOString()).toBe(before);
  });

  it('longer than dates reach back is before everything', () => {
    expect(timeBefore(0, parseKeepDuration('999999y'))).toBe(Number.NEGATIVE_INFINITY);
  });
});

describe('any policy on any points', () => {
  const time = fc.date({ min: new Date('2024-01-01'), max: new Date('2026-11-23'), noInvalidDate: true });
  const count = fc.option(fc.integer({ min: -1, max: 6 }), { nil: undefined });
  const duration = fc.option(fc.constantFrom('1h', '1d', '30d', '6m', '2y'), { nil: undefined });
  const policies = fc
    .record({
      ...{ keepLast: count, keepHourly: count, keepDaily: count, keepWeekly: count, keepMonthly: count },
      ...{ keepYearly: count, keepWithin: duration, keepWithinDaily: duration, keepWithinMonthly: duration },
    })
    .filter(policy => Object.values(policy).some(value => value !== undefined && value !== 0));
  const histories = fc.array(time, { minLength: 1, maxLength: 30 }).map(times => {
    const texts = times.map(each => each.toISOString().slice(0, 19));
    return { inOrder: pointsAt([...texts].sort()), anyOrder: pointsAt(texts) };
  });

  it('keeps the newest, no fewer than a policy with less, and the same when asked again', () => {
    fc.assert(
      fc.property(histories, policies, ({ inOrder, anyOrder }, policy) => {
        for (const points of [inOrder, anyOrder]) {
          const kept = applyRetention(points, policy, { now: NOW }).filter(({ keep }) => keep);
          expect(kept.at(-1)?.point).toBe(points.at(-1));
        }
        const keep = (points: readonly Point[], by: RetentionPolicy) =>
          applyRetention(points, by, { now: NOW }).filter(verdict => verdict.keep);
        const kept = keep(inOrder, policy).map(({ point }) => point);
        expect(keep(kept, policy)).toHaveLength(kept.length);
        for (const [name, value] of Object.entries(policy)) {
          if (value === undefined || value === 0) continue;
          const less = new Set(keep(inOrder, { [name]: value }).map(({ point }) => point));
          expect([...less].filter(point => !kept.includes(point))).toEqual([]);
        }
      }),
      { numRuns: 50 },
    );
  });
});
