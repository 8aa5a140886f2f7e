import { execFileSync, spawnSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { blake3Digest, storedDigestOf } from '#nbdelta/codec/blake3.js';
import { parseCodec } from '#nbdelta/codec/codec-spec.js';
import { openFrame } from '#nbdelta/codec/open.js';
import { sealFrame } from '#nbdelta/codec/seal.js';
import { createCompressor, createDecompressor, sealedCapacity } from '#nbdelta/codec/zstd.js';

const noZstd = spawnSync('zstd', ['--version']).status !== 0;
const decompressor = createDecompressor({ checksums: false });

function seal(content: Uint8Array, codec = 'zstd:1') {
  const raw = Uint8Array.from(content);
  const out = new Uint8Array(sealedCapacity(raw.length));
  const sealed = sealFrame(createCompressor(parseCodec(codec).level), raw, Uint32Array.of(raw.length), out);
  return { ...sealed, raw, stored: out.slice(0, sealed.storedLength) };
}

const content = fc.oneof(
  fc.uint8Array({ minLength: 1, maxLength: 5000 }),
  fc
    .tuple(fc.nat(255), fc.integer({ min: 1, max: 200_000 }))
    .map(([byte, length]) => new Uint8Array(length).fill(byte)),
);

describe('seal and open', () => {
  test('what is sealed opens, with every codec', () => {
    fc.assert(
      fc.property(content, fc.constantFrom('none', 'zstd:1', 'zstd:3', 'zstd:9'), (bytes, codec) => {
        const { liveLength, digest, storedDigest, stored, zeroRuns } = seal(bytes, codec);
        if (bytes.every(byte => byte === 0)) {
          expect([liveLength, stored.length, Array.from(zeroRuns)]).toEqual([0, 0, [0, 0, bytes.length]]);
          return;
        }
        const out = new Uint8Array(liveLength + 10).fill(0x77);
        const expected = { rawLength: liveLength, digest, storedDigest, checkStored: true };
        expect(openFrame(decompressor, stored, out, expected)).toBeNull();
        expect(Buffer.compare(out.subarray(0, liveLength), bytes)).toBe(0);
        expect(out.subarray(liveLength).every(byte => byte === 0x77)).toBe(true);
      }),
    );
  });

  test('digests are those of BLAKE3', () => {
    const { digest, storedDigest, stored } = seal(Buffer.from('abc'));
    expect(Buffer.from(digest).toString('hex')).toBe(
      '6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85',
    );
    expect(storedDigest).toEqual(blake3Digest(stored).slice(0, 16));
  });

  test.skipIf(noZstd)('zstd reads frames, content size and checksum included', () => {
    for (const codec of ['none', 'zstd:1', 'zstd:19']) {
      const bytes = Buffer.alloc(70_000, 'stock tools read it ');
      const { stored } = seal(bytes, codec);
      expect(stored[4]! & 0x04, 'checksum flag').toBe(0x04);
      expect(execFileSync('zstd', ['-dc'], { input: stored }).equals(bytes)).toBe(true);
      const damaged = Uint8Array.from(stored);
      damaged[damaged.length - 1]! ^= 1; // In the checksum itself.
      expect(spawnSync('zstd', ['-dc'], { input: damaged }).status).not.toBe(0);
    }
  });

  test('none stores practically raw', () => {
    const bytes = Buffer.alloc(1 << 20, 'very compressible ');
    expect(seal(bytes, 'none').stored.length).toBeGreaterThan(bytes.length * 0.99);
  });

  test('each check has its name, and no bytes come out', () => {
    const bytes = Buffer.alloc(10_000, 'content ');
    const { stored, digest, storedDigest } = seal(bytes);
    const good = { rawLength: bytes.length, digest, storedDigest, checkStored: true };
    const garbage = new Uint8Array(50).fill(9);
    const attempts = [
      ['stored-digest', stored, { ...good, storedDigest: new Uint8Array(16) }],
      ['stored-digest', new Uint8Array(0), { ...good, storedDigest: storedDigestOf(new Uint8Array(0)) }],
      ['decode', garbage, { ...good, storedDigest: storedDigestOf(garbage) }],
      ['decode', stored, { ...good, rawLength: bytes.length - 1 }],
      ['length', stored, { ...good, rawLength: bytes.length + 1 }],
      ['digest', stored, { ...good, digest: new Uint8Array(32) }],
    ] as const;
    for (const [check, given, expected] of attempts) {
      const out = new Uint8Array(bytes.length + 100);
      expect(openFrame(decompressor, given, out, expected)).toBe(check);
      expect(out.every(byte => byte === 0)).toBe(true);
    }
    expect(openFrame(decompressor, stored, new Uint8Array(10), good)).toBe('length');
  });

  test('the content is compared with its digest, not with the checksum that zstd keeps', () => {
    const bytes = Buffer.alloc(10_000, 'content ');
    const { stored, digest } = seal(bytes);
    stored[stored.length - 1]! ^= 1; // In the checksum.
    const expected = {
      rawLength: bytes.length,
      digest,
      storedDigest: storedDigestOf(stored),
      checkStored: true,
    };
    const out = new Uint8Array(bytes.length);
    expect(openFrame(createDecompressor(), stored, out, expected)).toBe('decode');
    expect(openFrame(createDecompressor({ checksums: false }), stored, out, expected)).toBeNull();
    expect(Buffer.compare(out, bytes)).toBe(0);
  });

  test('who wants the content gets it when its digest is right; what is wrong with the rest is for who asks', () => {
    const bytes = Buffer.alloc(10_000, 'content ');
    const { stored, digest, storedDigest } = seal(bytes);
    const expected = { rawLength: bytes.length, digest, storedDigest };
    const open = (given: Uint8Array, checkStored: boolean) =>
      openFrame(decompressor, given, new Uint8Array(bytes.length), { ...expected, checkStored });
    const rotten = Uint8Array.from(stored);
    rotten[rotten.length - 1]! ^= 1; // In the checksum: the content is what it was.
    expect([open(rotten, false), open(rotten, true)]).toEqual([null, 'stored-digest']);
    rotten[20]! ^= 1;
    expect([open(rotten, false), open(rotten, true)]).toEqual(['stored-digest', 'stored-digest']);
  });

  test('hostile stored bytes never open, even with a matching stored digest', () => {
    const bytes = Buffer.alloc(3000, 'content ');
    const { stored, digest } = seal(bytes);
    fc.assert(
      fc.property(fc.nat(stored.length - 1), fc.integer({ min: 1, max: 255 }), (at, bits) => {
        const damaged = Uint8Array.from(stored);
        damaged[at]! ^= bits;
        const expected = {
          rawLength: bytes.length,
          digest,
          storedDigest: storedDigestOf(damaged),
          checkStored: true,
        };
        const out = new Uint8Array(bytes.length);
        const failed = openFrame(decompressor, damaged, out, expected);
        // A bit that zstd ignores (reserved, or in the header only) may open, but then to the same bytes.
        if (failed === null) expect(Buffer.compare(out, bytes)).toBe(0);
      }),
      { numRuns: 500 },
    );
  });

  test('detached, empty or mismatched buffers are refused, not sealed as nothing', () => {
    const compressor = createCompressor(1);
    const detached = new Uint8Array(100);
    structuredClone(detached.buffer, { transfer: [detached.buffer] });
    const out = new Uint8Array(1000);
    const internal = expect.objectContaining({ code: 'INTERNAL' });
    expect(() => sealFrame(compressor, detached, Uint32Array.of(100), out)).toThrow(internal);
    expect(() => sealFrame(compressor, new Uint8Array(0), new Uint32Array(0), out)).toThrow(internal);
    expect(() => sealFrame(compressor, new Uint8Array(10), Uint32Array.of(4, 5), out)).toThrow(internal);
    expect(() => sealFrame(compressor, out, Uint32Array.of(1000), new Uint8Array(1000))).toThrow(internal);
  });
});
