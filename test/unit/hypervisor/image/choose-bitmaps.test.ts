import { describe, expect, it } from 'vitest';
import { chooseBitmaps } from '#nbdelta/hypervisor/image/choose-bitmaps.js';
import type { ImageDisk } from '#nbdelta/hypervisor/image/image-disks.js';
import type { ImageBitmap } from '#nbdelta/hypervisor/image/image-info.js';

const bitmap = (name: string, change: Partial<ImageBitmap> = {}): ImageBitmap => ({
  ...{ name, isInconsistent: false, isRecording: true },
  ...change,
});

function disk(name: string, bitmaps: readonly ImageBitmap[], format = 'qcow2'): ImageDisk {
  const path = `/vm/${name}`;
  return {
    ...{ name, identity: name },
    reference: { path, format, isDevice: false, isEncrypted: false, secretFile: undefined },
    info: {
      ...{ format, size: 1 << 20, isEncrypted: false, backing: undefined, dataFile: undefined },
      ...{ isCorrupt: false, keepsBitmaps: format === 'qcow2', bitmaps },
    },
  };
}

const bases = (...names: readonly string[]) => names.map(name => ({ name, definition: undefined }));
const codes = (disks: readonly ImageDisk[], ...names: readonly string[]) => {
  const chosen = chooseBitmaps(disks, bases(...names));
  return [chosen.since, ...chosen.disks.map(({ bitmap: found, reason }) => found ?? reason?.code ?? 'none')];
};

describe('what each image is read since', () => {
  it('nothing, when no base is asked for', () => {
    expect(codes([disk('a', [bitmap('b0')])])).toEqual([undefined, 'none']);
    expect(codes([disk('a', [], 'raw')])).toEqual([undefined, 'no-persistent-bitmap']);
  });

  it('the newest base that any of them has', () => {
    const both = disk('a', [bitmap('b0'), bitmap('b1')]);
    expect(codes([both], 'b1', 'b0')).toEqual(['b1', 'b1']);
    expect(codes([both], 'b2', 'b0')).toEqual(['b0', 'b0']);
    expect(codes([disk('c', [bitmap('b0')]), both], 'b1', 'b0')).toEqual(['b1', 'bitmap-missing', 'b1']);
  });

  it.each([
    ['bitmap-missing', []],
    ['bitmap-inconsistent', [bitmap('b0', { isInconsistent: true })]],
    ['bitmap-disabled', [bitmap('b0', { isRecording: false })]],
    // Marked as both, it is the crash that made it unfit.
    ['bitmap-inconsistent', [bitmap('b0', { isInconsistent: true, isRecording: false })]],
  ])('one whose bitmap cannot be believed is read as a whole: %s', (code, bitmaps) => {
    expect(codes([disk('bad', bitmaps), disk('good', [bitmap('b0')])], 'b0')).toEqual(['b0', code, 'b0']);
    expect(codes([disk('bad', bitmaps)], 'b0')).toEqual([undefined, code]);
  });

  it('a raw one never has any', () => {
    const raw = disk('raw', [], 'raw');
    expect(codes([raw, disk('a', [bitmap('b0')])], 'b0')).toEqual(['b0', 'no-persistent-bitmap', 'b0']);
  });
});
