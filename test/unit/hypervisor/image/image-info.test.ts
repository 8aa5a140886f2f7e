import { describe, expect, it } from 'vitest';
import { parseImageInfo } from '#nbdelta/hypervisor/image/image-info.js';
import { CAPTURED } from './captured-info.js';

const parse = (key: keyof typeof CAPTURED) => parseImageInfo(CAPTURED[key], '/x');

describe('what qemu-img says of an image', () => {
  it.each([
    ['qcow2', { format: 'qcow2', size: 1 << 20, isEncrypted: false, keepsBitmaps: true }],
    ['qcow2v2', { format: 'qcow2', size: 1 << 20, isEncrypted: false, keepsBitmaps: false }],
    ['raw', { format: 'raw', size: 1 << 20, isEncrypted: false, keepsBitmaps: false }],
    ['luks', { format: 'luks', size: 4 << 20, isEncrypted: true, keepsBitmaps: false }],
    ['encryptedQcow2', { format: 'qcow2', size: 4 << 20, isEncrypted: true, keepsBitmaps: true }],
    ['vmdk', { format: 'vmdk', size: 1 << 20, isEncrypted: false, keepsBitmaps: false }],
  ] as const)('%s', (key, expected) => {
    expect(parse(key)).toEqual({
      ...{ backing: undefined, dataFile: undefined, isCorrupt: false, bitmaps: [] },
      ...expected,
    });
  });

  it('other files that it is made of', () => {
    expect(parse('overlay')).toMatchObject({ backing: 'base.qcow2', dataFile: undefined });
    expect(parse('dataFile')).toMatchObject({ backing: undefined, dataFile: 'dd.raw' });
  });

  it('bitmaps, and which of them can be believed', () => {
    expect(parse('bitmaps').bitmaps).toEqual([
      { name: 'b0', isInconsistent: false, isRecording: true },
      { name: 'off', isInconsistent: false, isRecording: false },
    ]);
    expect(parse('inUse').bitmaps).toEqual([
      { name: 'b0', isInconsistent: true, isRecording: true },
      { name: 'off', isInconsistent: true, isRecording: false },
    ]);
  });

  it('the mark of damage', () => {
    const marked = CAPTURED.qcow2.replace('"corrupt":false', '"corrupt":true');
    expect(parseImageInfo(marked, '/x').isCorrupt).toBe(true);
  });

  it.each([
    ['nothing', ''],
    ['no JSON', 'image: x\nfile format: raw'],
    ['no object', '[]'],
    ['no size', '{"format":"raw"}'],
    ['a size that is none', CAPTURED.raw.replace('1048576', '-1')],
    ['a size beyond exact numbers', CAPTURED.raw.replace('1048576', '9007199254740993')],
    ['a bitmap without a name', CAPTURED.bitmaps.replace('"name":"b0",', '')],
    ['bitmaps that are no list', CAPTURED.qcow2.replace('"corrupt":false', '"bitmaps":7')],
  ])('refuses %s', (_, text) => {
    expect(() => parseImageInfo(text, '/x')).toThrow(
      expect.objectContaining({ code: 'HYPERVISOR_FAILED', message: expect.stringContaining('/x') }),
    );
  });
});
