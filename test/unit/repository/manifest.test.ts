import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NbdeltaError } from '#nbdelta/errors.js';
import { encodeDocument } from '#nbdelta/repository/json-document.js';
import {
  decodeDigestFile,
  decodeManifest,
  encodeDigestFile,
  encodeManifest,
  manifestDigest,
} from '#nbdelta/repository/manifest.js';
import { isPointId, newPointId } from '#nbdelta/repository/point-id.js';
import { failedDisk, sampleDisk, sampleManifest } from './sample-manifest.js';

type Json = { [key: string]: Json } & Json[] & string & number & null;

/** The bytes of a valid manifest after `change` had its way with the JSON. */
function spoiled(change: (manifest: Json) => void): Uint8Array {
  const value = JSON.parse(Buffer.from(encodeManifest(sampleManifest(1))).toString()) as Json;
  change(value);
  return encodeDocument(value);
}

function set(value: unknown, ...path: (string | number)[]) {
  return (manifest: Json): void => {
    const last = path.pop()!;
    const holder = path.reduce<Json>((at, key) => at[key as string]!, manifest);
    holder[last as string] = value as Json;
  };
}

const volumeName = (name: unknown) => set(name, 'disks', 0, 'archive', 'volumes', 0, 'name');

describe('manifest.json', () => {
  it('is read as it was written, and the same manifest gives the same bytes', () => {
    const partial = sampleManifest(1, {
      partial: true,
      disks: [sampleDisk('vda', 'full'), failedDisk('vdb')],
    });
    const bytes = encodeManifest(partial);
    expect(decodeManifest(bytes)).toEqual(partial);
    expect(encodeManifest(decodeManifest(bytes))).toEqual(bytes);
  });

  it('tolerates keys it does not know, and fills in replaces, standsFor and files', () => {
    const bytes = spoiled(manifest => {
      set('x', 'tomorrow')(manifest);
      set({ y: 1 }, 'disks', 0, 'archive', 'tomorrow')(manifest);
      delete manifest['replaces'];
      delete manifest['standsFor'];
      delete manifest['files'];
    });
    expect(decodeManifest(bytes)).toEqual(sampleManifest(1));
  });

  it.each<[string, (manifest: Json) => void]>([
    ['an unknown version', set(2, 'version')],
    ['an unknown feature', set(['encryption'], 'features')],
  ])('%s is FORMAT_UNSUPPORTED', (_, change) => {
    const error = expect.objectContaining({ code: 'FORMAT_UNSUPPORTED' });
    expect(() => decodeManifest(spoiled(change))).toThrow(error);
  });

  it.each<[string, (manifest: Json) => void]>([
    ['a path as a volume name', volumeName('../vda.0001.tar')],
    ['an absolute volume name', volumeName('/etc/vda.0001.tar')],
    ['a folder in a volume name', volumeName('x/vda.0001.tar')],
    ['a newline after a volume name', volumeName('vda.0001.tar\n')],
    ['a NUL in a volume name', volumeName('vda\0.0001.tar')],
    ['manifest.json as a volume name', volumeName('manifest.json')],
    ['a volume name of a megabyte', volumeName(`${'a'.repeat(1 << 20)}.0001.tar`)],
    ['a number as a volume name', volumeName(7)],
    ['no volume', set([], 'disks', 0, 'archive', 'volumes')],
    ['no disk', set([], 'disks')],
    ['a disk name that is a path', set('../vda', 'disks', 0, 'name')],
    ['a negative size', set(-1, 'disks', 0, 'size')],
    ['a fractional size', set(0.5, 'disks', 0, 'size')],
    ['a size above 2^53', set(2 ** 53, 'disks', 0, 'size')],
    ['a size of 1e400', set(Number.POSITIVE_INFINITY, 'disks', 0, 'size')],
    ['an index beyond its volume', set(2, 'disks', 0, 'archive', 'index', 'offset')],
    ['an index in no volume', set(2, 'disks', 0, 'archive', 'index', 'volume')],
    ['an index in volume 0', set(0, 'disks', 0, 'archive', 'index', 'volume')],
    ['a digest in capitals', set('AB'.repeat(32), 'disks', 0, 'archive', 'index', 'sha256')],
    ['a level of its own', set('synthetic', 'level')],
    [
      'a full with a parent',
      set({ id: '20261122T173000Z-1a2b3c4d', manifestSha256: 'ab'.repeat(32) }, 'parent'),
    ],
    ['an incremental without a parent', set('incremental', 'level')],
    ['an incremental disk in a full', set('incremental', 'disks', 0, 'level')],
    ['a full disk with a parent archive', set('x', 'disks', 0, 'archive', 'parentArchiveId')],
    ['a stored disk without an archive', set(undefined, 'disks', 0, 'archive')],
    ['a failed disk in a whole point', set([failedDisk('vda')], 'disks')],
    ['two disks of one name', set([sampleDisk('vda', 'full'), sampleDisk('vda', 'full')], 'disks')],
    [
      'two disks in one volume',
      set([sampleDisk('vda', 'full'), { ...sampleDisk('vda', 'full'), name: 'vdb' }], 'disks'),
    ],
    ['an id that is a path', set('../../x', 'id')],
    ['a machine name that is a path', set('..', 'machine', 'name')],
    ['a time with a zone', set('2026-11-22T17:30:00+01:00', 'created')],
    ['a date only', set('2026-11-22', 'created')],
    ['sequence 0', set(0, 'sequence')],
    ['another format', set('nbdelta-machine', 'format')],
  ])('refuses %s as damaged', (_, change) => {
    const error = expect.objectContaining({ code: 'DATA_DAMAGED' });
    expect(() => decodeManifest(spoiled(change), 'web1@x')).toThrow(error);
  });

  it('refuses __proto__ anywhere, and no prototype changes', () => {
    for (const text of ['{"__proto__":{"format":"nbdelta-point"}}', '{"format":{"__proto__":[]}}']) {
      expect(() => decodeManifest(Buffer.from(text))).toThrow('"__proto__" is not allowed');
    }
    expect(({} as { format?: unknown }).format).toBeUndefined();
  });

  it('refuses nesting that exhausts the stack', () => {
    const deep = Buffer.from(`${'['.repeat(200_000)}${']'.repeat(200_000)}`);
    expect(() => decodeManifest(deep)).toThrow(expect.objectContaining({ code: 'DATA_DAMAGED' }));
  });

  it('refuses every truncation, with one of our errors on one line', () => {
    const bytes = encodeManifest(sampleManifest(1));
    for (let length = 0; length < bytes.length - 2; length++) {
      expect(() => decodeManifest(bytes.subarray(0, length))).toThrow(NbdeltaError);
    }
  });

  it('any value anywhere is read or refused, never a crash', () => {
    const paths = fc.constantFrom<(string | number)[]>(
      ...[['disks'], ['disks', 0], ['machine'], ['since'], ['parent'], ['statistics'], ['warnings']],
      ...[
        ['disks', 0, 'archive'],
        ['disks', 0, 'archive', 'volumes', 0],
        ['features'],
        ['replaces'],
        ['standsFor'],
      ],
    );
    fc.assert(
      fc.property(paths, fc.jsonValue(), (path, value) => {
        const bytes = spoiled(set(value, ...path));
        try {
          decodeManifest(bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(NbdeltaError);
          expect((error as Error).message).not.toContain('\n');
        }
      }),
      { numRuns: 300 },
    );
  });

  it('is never written in a form that could not be read', () => {
    const wrong = sampleManifest(1, { disks: [failedDisk('vda')] });
    expect(() => encodeManifest(wrong)).toThrow(expect.objectContaining({ code: 'INTERNAL' }));
    const huge = sampleManifest(1, { warnings: [{ code: 'x', text: 'x'.repeat(17 << 20) }] });
    expect(() => encodeManifest(huge)).toThrow('expected at most 16777216');
  });
});

describe('manifest.sha256', () => {
  it('is what sha256sum writes', () => {
    // printf abc | sha256sum
    const sha256 = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad';
    expect(manifestDigest(Buffer.from('abc'))).toBe(sha256);
    expect(Buffer.from(encodeDigestFile(sha256)).toString()).toBe(`${sha256}  manifest.json\n`);
    expect(decodeDigestFile(encodeDigestFile(sha256), 'p')).toBe(sha256);
    expect(decodeDigestFile(Buffer.from(`${sha256} *manifest.json\n`), 'p')).toBe(sha256);
  });

  it.each(['', 'abc', `${'0'.repeat(64)}  other.json\n`, `${'g'.repeat(64)}  manifest.json\n`])(
    'refuses %j',
    text => {
      expect(() => decodeDigestFile(Buffer.from(text), 'web1@x')).toThrow('not in the form of sha256sum');
    },
  );
});

it('a point id says when, and 8 random digits', () => {
  const id = newPointId(new Date('2026-11-22T17:30:00.999Z'), () => Uint8Array.of(0x1a, 0x2b, 0x3c, 0x4d));
  expect(id).toBe('20261122T173000Z-1a2b3c4d');
  expect([id, newPointId()].every(isPointId)).toBe(true);
  expect(['', `${id}\n`, `../${id}`, id.toUpperCase()].some(isPointId)).toBe(false);
});
