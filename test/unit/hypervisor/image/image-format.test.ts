import { describe, expect, it } from 'vitest';
import { checkGuessedFormat, formatOfName } from '#nbdelta/hypervisor/image/image-format.js';
import { parseImageInfo } from '#nbdelta/hypervisor/image/image-info.js';
import { CAPTURED } from './captured-info.js';

const guess = (key: keyof typeof CAPTURED) => () =>
  checkGuessedFormat('/vm/disk', parseImageInfo(CAPTURED[key], '/vm/disk'));

describe('the format of an image', () => {
  it.each([
    ['/vm/a.raw', 'raw'],
    ['/vm/a.qcow2', 'qcow2'],
    ['/vm/A.QCOW2', 'qcow2'],
    ['/vm/a.vhd', 'vpc'],
    ['/vm/a.img', undefined],
    ['/vm/a.qcow2/b', undefined],
    ['/vm/a', undefined],
    ['/vm/a.constructor', undefined],
  ])('%s says %s', (path, format) => {
    expect(formatOfName(path)).toBe(format);
  });

  it('is guessed where a guest could do no harm with what it wrote', () => {
    expect(guess('raw')).not.toThrow();
    expect(guess('luks')).not.toThrow();
    expect(guess('qcow2')).not.toThrow();
  });

  it.each(['overlay', 'dataFile', 'vmdk'] as const)('is not guessed for %s', key => {
    expect(guess(key)).toThrow(
      expect.objectContaining({ code: 'USAGE', hint: expect.stringContaining('raw') }),
    );
  });
});
