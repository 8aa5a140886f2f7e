import { describe, expect, test } from 'vitest';
import { parseCodec } from '#nbdelta/codec/codec-spec.js';
import { UsageError } from '#nbdelta/errors.js';

describe('codec', () => {
  test('zstd:1 to zstd:19, and none', () => {
    for (let level = 1; level <= 19; level++) {
      expect(parseCodec(`zstd:${level}`)).toEqual({ name: 'zstd', level, text: `zstd:${level}` });
    }
    expect(parseCodec('none')).toEqual({ name: 'none', level: -131072, text: 'none' });
  });

  test.each([
    '',
    'zstd',
    'zstd:',
    'zstd:0',
    'zstd:20',
    'zstd:-1',
    'zstd:01',
    'zstd:1 ',
    'ZSTD:1',
    'gzip',
    'none:1',
    'zstd:1\n',
  ])('refuses %j', text => {
    expect(() => parseCodec(text)).toThrow(UsageError);
  });
});
