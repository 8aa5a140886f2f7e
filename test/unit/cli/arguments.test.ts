import { InvalidArgumentError } from 'commander';
import { describe, expect, it } from 'vitest';
import { readDiskArguments, splitDiskArgument } from '#nbdelta/cli/arguments/disk-arguments.js';
import { parseListenAddress } from '#nbdelta/cli/arguments/listen-address.js';
import { secondsAsMs, sizeInBytes, wholeNumber } from '#nbdelta/cli/arguments/numbers.js';
import { exportNameOf } from '#nbdelta/operations/export-name.js';

describe('DISK=URI', () => {
  it.each([
    ['vda=nbd://h/x', 'vda', 'nbd://h/x'],
    ['a.b-c_1=nbd://h/x?tls-psk-file=k', 'a.b-c_1', 'nbd://h/x?tls-psk-file=k'],
    ['nbd+unix:///x?socket=/s', undefined, 'nbd+unix:///x?socket=/s'],
    ['nbd://h/x', undefined, 'nbd://h/x'],
  ])('%s', (text, name, uri) => {
    expect(splitDiskArgument(text)).toEqual({ name, uri });
  });

  it.each([
    'a b=nbd+unix:///x?socket=/s',
    'x/y=nbd://h',
    '..=nbd://h',
    '=nbd://h/x',
    '-a=nbd://h/x',
    '../a=x',
  ])('says that the name is at fault: %s', text => {
    expect(() => splitDiskArgument(text)).toThrow(/^".*" is not a disk name$/);
  });

  it('says so of a name that is too long', () => {
    expect(() => splitDiskArgument(`${'a'.repeat(65)}=nbd://h/x`)).toThrow('is not a disk name');
  });

  it('takes the name from the export, or a number where that is no name', () => {
    const texts = ['nbd://h/sda', 'nbd://h', 'nbd://h/a%20b', 'x=nbd://h/sdb'];
    const names = readDiskArguments(texts, exportNameOf, undefined).map(disk => disk.name);
    expect(names).toEqual(['sda', 'disk1', 'disk2', 'x']);
  });

  it('fills the template of the bitmap, or leaves the bitmap to the operation', () => {
    const bitmapOf = (template: string | undefined) =>
      readDiskArguments(['vda=nbd://h'], exportNameOf, template)[0]!.bitmap;
    expect(bitmapOf('cp-{disk}-{disk}')).toBe('cp-vda-vda');
    expect(bitmapOf('daily')).toBe('daily');
    expect(bitmapOf(undefined)).toBeUndefined();
  });
});

describe('HOST:PORT', () => {
  it.each([
    ['localhost:10809', 'localhost', 10_809],
    ['[::1]:0', '::1', 0],
    [':99', 'localhost', 99],
    ['0.0.0.0:65535', '0.0.0.0', 65_535],
  ])('%s', (text, host, port) => {
    expect(parseListenAddress(text)).toEqual({ kind: 'tcp', host, port });
  });

  it.each(['', 'localhost', 'localhost:', '::1:80', 'localhost:65536', 'localhost:-1', '[::1]', 'a:b'])(
    'refuses %j',
    text => {
      expect(() => parseListenAddress(text)).toThrow(InvalidArgumentError);
    },
  );
});

describe('numbers', () => {
  it('are whole and large enough', () => {
    expect(wholeNumber(0)('0')).toBe(0);
    for (const text of ['', '0', '-1', '1.5', '1e3', 'x', '9'.repeat(20)]) {
      expect(() => wholeNumber(1)(text), text).toThrow(InvalidArgumentError);
    }
  });

  it('are seconds', () => {
    expect(secondsAsMs('1.5')).toBe(1500);
    for (const text of ['', '0', '-1', 'x', '0.0001', '99999999999']) {
      expect(() => secondsAsMs(text), text).toThrow(InvalidArgumentError);
    }
  });

  it.each([
    ['65536', 65_536],
    ['64k', 65_536],
    ['1M', 1 << 20],
    ['1MiB', 1 << 20],
    ['2g', 2 ** 31],
  ])('are sizes: %s', (text, bytes) => {
    expect(sizeInBytes(text)).toBe(bytes);
    for (const wrong of ['', 'k', '1.5M', '-1', '1T', '1MB', `${'9'.repeat(15)}g`]) {
      expect(() => sizeInBytes(wrong), wrong).toThrow(InvalidArgumentError);
    }
  });
});
