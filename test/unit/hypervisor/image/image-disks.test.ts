import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { nameFromPath, nameImages, noBitmap } from '#nbdelta/hypervisor/image/image-disks.js';
import { parseImageInfo } from '#nbdelta/hypervisor/image/image-info.js';
import { diskNameSchema } from '#nbdelta/repository/manifest-schema.js';
import { CAPTURED } from './captured-info.js';

describe('what images are called', () => {
  it.each([
    ['/vm/web1.qcow2', 'web1'],
    ['web1', 'web1'],
    ['/vm/web1.2024.img', 'web1.2024'],
    ['/vm/.hidden', 'hidden'],
    ['/vm/-rf.raw', 'rf'],
    ['/vm/a b,c=d.raw', 'a-b-c-d'],
    ['/vm/ü.raw', 'disk0'],
    ['/vm/---.raw', 'disk0'],
  ])('%s: %s', (path, name) => {
    expect(nameFromPath(path)).toBe(name);
  });

  it('is always a name that a disk may have', () => {
    const anyFile = fc.oneof(fc.string({ unit: 'grapheme' }), fc.string({ minLength: 100 }));
    fc.assert(
      fc.property(anyFile, file => {
        expect(diskNameSchema.safeParse(nameFromPath(`/vm/${file}`)).success).toBe(true);
      }),
    );
  });

  it('is what the user says', () => {
    expect(nameImages([{ disk: 'vda', path: '/vm/a.qcow2' }])).toEqual([
      { name: 'vda', path: '/vm/a.qcow2' },
    ]);
  });

  it('is not the same twice', () => {
    const paths = ['/a/disk.qcow2', '/b/disk.qcow2'].map(path => ({ disk: undefined, path }));
    expect(() => nameImages(paths)).toThrow(expect.objectContaining({ code: 'USAGE' }));
  });
});

describe('why an image keeps no bitmap', () => {
  it.each([
    ['qcow2', null],
    ['encryptedQcow2', null],
    ['qcow2v2', /compat=0\.10/],
    ['raw', /raw/],
    ['luks', /luks/],
  ] as const)('%s', (key, text) => {
    const reason = noBitmap('vda', parseImageInfo(CAPTURED[key], '/x'));
    if (text === null) expect(reason).toBeNull();
    else expect(reason).toEqual({ code: 'no-persistent-bitmap', text: expect.stringMatching(text) });
  });
});
