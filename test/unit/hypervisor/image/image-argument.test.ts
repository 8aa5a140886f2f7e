import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  escapeOption,
  type ImageReference,
  imageArgument,
  imageArguments,
  pathInArgument,
} from '#nbdelta/hypervisor/image/image-argument.js';

const image = (change: Partial<ImageReference> = {}): ImageReference => ({
  ...{ path: '/vm/web1', format: 'qcow2', isDevice: false, isEncrypted: false, secretFile: undefined },
  ...change,
});

const decode = (argument: string): unknown => JSON.parse(argument.replace(/^json:/, ''));

describe('an image as an argument', () => {
  it('says its format, and that it is a file', () => {
    expect(decode(imageArgument(image(), 'reading'))).toEqual({
      driver: 'qcow2',
      file: { driver: 'file', filename: '/vm/web1' },
    });
  });

  it.each(['raw', 'luks'])('%s is not shared with writers while it is read', format => {
    expect(decode(imageArgument(image({ format, isDevice: true }), 'reading'))).toEqual({
      driver: format,
      file: {
        driver: 'blkdebug',
        'unshare-child-perms': ['write', 'resize'],
        image: { driver: 'host_device', filename: '/vm/web1' },
      },
    });
  });

  it('is opened without what is behind it where only its bitmaps are meant', () => {
    expect(decode(imageArgument(image(), 'bitmaps'))).toMatchObject({ backing: null });
    expect(decode(imageArgument(image(), 'reading'))).not.toHaveProperty('backing');
  });

  it('names the secret, which is in no argument', () => {
    const secretFile = '/keys/a,b';
    const [object, secret, argument] = imageArguments(image({ isEncrypted: true, secretFile }), 'reading');
    expect([object, secret]).toEqual(['--object', 'secret,id=nbdelta,file=/keys/a,,b']);
    expect(decode(argument!)).toMatchObject({ 'encrypt.key-secret': 'nbdelta' });
    const luks = image({ format: 'luks', isEncrypted: true, secretFile });
    expect(decode(imageArguments(luks, 'reading').at(-1)!)).toMatchObject({ 'key-secret': 'nbdelta' });
    expect(imageArguments(image({ secretFile }), 'reading')).toHaveLength(1);
  });

  it('gives its path back, whatever is in it, and no other', () => {
    const anyPath = fc.string({ unit: 'grapheme' }).map(text => `/${text}`);
    const formats = fc.constantFrom('raw', 'qcow2', 'luks');
    const purposes = fc.constantFrom('reading' as const, 'bitmaps' as const);
    fc.assert(
      fc.property(anyPath, formats, purposes, fc.boolean(), (path, format, purpose, isDevice) => {
        const argument = imageArgument(image({ path, format, isDevice }), purpose);
        expect(pathInArgument(argument)).toBe(path);
      }),
    );
    for (const other of ['', '/vm/web1', 'json:', 'json:{', 'json:7', 'json:null', 'json:{"file":7}']) {
      expect(pathInArgument(other)).toBeUndefined();
    }
  });

  it('escapes an option as QEMU reads it back', () => {
    // A value ends at a comma that is not doubled.
    fc.assert(
      fc.property(fc.string(), value => {
        expect(escapeOption(value).replaceAll(',,', '')).not.toContain(',');
        expect(escapeOption(value).replaceAll(',,', ',')).toBe(value);
      }),
    );
  });
});
