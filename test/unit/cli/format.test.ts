import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  formatAge,
  formatBytes,
  formatCount,
  formatDuration,
  formatPlural,
  formatRate,
  formatShare,
  formatSize,
  formatTime,
} from '#nbdelta/cli/display/format.js';

describe('formatBytes', () => {
  it.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1.00 KiB'],
    [1536, '1.50 KiB'],
    [10_239, '10.0 KiB'],
    [65_536, '64.0 KiB'],
    [102_348, '99.9 KiB'],
    [102_399, '100 KiB'],
    [1_048_063, '1023 KiB'],
    [1_048_064, '1.00 MiB'],
    [1 << 20, '1.00 MiB'],
    [256 * 2 ** 20, '256 MiB'],
    [2 ** 40, '1.00 TiB'],
    [Number.MAX_SAFE_INTEGER, '8.00 PiB'],
  ])('%i is %s', (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });

  it('is short and right to three digits', () => {
    const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
    fc.assert(
      fc.property(fc.maxSafeNat(), bytes => {
        const [value, unit] = formatBytes(bytes).split(' ');
        expect(value!.length).toBeLessThanOrEqual(4);
        const meant = Number(value) * 1024 ** units.indexOf(unit!);
        expect(Math.abs(meant - bytes)).toBeLessThanOrEqual(bytes * 0.006);
      }),
    );
  });
});

describe('sizes, counts, shares and rates', () => {
  it.each([
    [0, '0'],
    [999, '999'],
    [1000, '1,000'],
    [1_234_567, '1,234,567'],
  ])('%i is %s', (count, text) => {
    expect(formatCount(count)).toBe(text);
  });

  it('give a size both ways', () => {
    expect(formatSize(17)).toBe('17 bytes');
    expect(formatSize(1 << 20)).toBe('1.00 MiB (1,048,576 bytes)');
  });

  it.each([
    [0, 0, '-'],
    [0, 10, '0.0 %'],
    [1, 1e9, '<0.1 %'],
    [1, 8, '12.5 %'],
    [999_999, 1_000_000, '>99.9 %'],
    [10, 10, '100.0 %'],
  ])('%i of %i is %s', (part, whole, text) => {
    expect(formatShare(part, whole)).toBe(text);
  });

  it('do not divide by no time', () => {
    expect(formatRate(1 << 20, 500)).toBe('2.00 MiB/s');
    expect(formatRate(1 << 20, 0)).toBe('-');
  });

  it('count things', () => {
    expect([0, 1, 2000].map(count => formatPlural(count, 'disk'))).toEqual([
      '0 disks',
      '1 disk',
      '2,000 disks',
    ]);
  });
});

describe('times', () => {
  it.each([
    [0, '0 ms'],
    [850, '850 ms'],
    [999.6, '1.0 s'],
    [12_345, '12.3 s'],
    [59_960, '1 min 00 s'],
    [185_000, '3 min 05 s'],
    [3_600_000, '1 h 00 min'],
    [90 * 60_000, '1 h 30 min'],
    [26 * 3_600_000, '1 d 02 h'],
  ])('%d ms is %s', (ms, text) => {
    expect(formatDuration(ms)).toBe(text);
  });

  it.each([
    [-5000, 'in the future'],
    [30_000, '30 s'],
    [90_000, '1 min'],
    [7_200_000, '2 h'],
    [47 * 3_600_000, '47 h'],
    [72 * 3_600_000, '3 d'],
  ])('an age of %d ms is %s', (ms, text) => {
    expect(formatAge(ms)).toBe(text);
  });

  it('are UTC and to the second', () => {
    expect(formatTime('2026-11-22T17:30:00.123Z')).toBe('2026-11-22 17:30:00Z');
    expect(formatTime('2026-11-22T18:30:00+01:00')).toBe('2026-11-22 17:30:00Z');
    expect(formatTime('not a time')).toBe('not a time');
  });
});
