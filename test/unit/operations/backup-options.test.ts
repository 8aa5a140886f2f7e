import { expect, it } from 'vitest';
import { UsageError } from '#nbdelta/errors.js';
import { type BackupOptions, checkBackupOptions } from '#nbdelta/operations/backup-options.js';

const check = (options: Partial<BackupOptions>) =>
  checkBackupOptions({
    repository: 'r',
    machine: 'm',
    disks: [{ name: 'vda', uri: 'nbd://h/vda' }],
    ...options,
  });

it.each(['full', 'copy', 'differential'] as const)('a rescan that is a %s at once is refused', level => {
  expect(() => check({ rescan: true, level })).toThrow(UsageError);
  expect(check({ rescan: false, level }).level).toBe(level);
});

it('a rescan builds on the newest point: what a bitmap would be since means nothing to it', () => {
  expect(() => check({ rescan: true, since: 'latest' })).toThrow(UsageError);
  expect(check({ rescan: true, level: 'incremental' }).rescan).toBe(true);
  expect(check({ rescan: true }).level).toBe('auto');
});

it.each([0, -1, Number.NaN, 65_535])('a rate of %s bytes per second is refused', rate => {
  expect(() => check({ rate })).toThrow(UsageError);
  expect(check({ rate: 65_536 }).rate).toBe(65_536);
});

it.each([0, -1, 1.5, Number.NaN, 4095])('requests and a read-ahead of %s bytes are refused', bytes => {
  expect(() => check({ requestBytes: bytes })).toThrow(
    /^a request size of .* bytes, expected at least 4096$/,
  );
  expect(() => check({ windowBytes: bytes })).toThrow(/^a read-ahead of .* bytes, expected at least 4096$/);
  expect(check({ requestBytes: 4096, windowBytes: 4096 })).toMatchObject({
    requestBytes: 4096,
    windowBytes: 4096,
  });
});
