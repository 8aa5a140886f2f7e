import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compressSegment, SEGMENT_MAX, SegmentDecoder } from '#nbdelta/codec/segment.js';
import { createCompressor, sealedCapacity } from '#nbdelta/codec/zstd.js';
import { DamagedError, NbdeltaError } from '#nbdelta/errors.js';

describe('index segments', () => {
  test('come back, split at every byte', () => {
    const [first, second] = [Buffer.alloc(3000, 'one'), Buffer.alloc(10, 'two')];
    const stored = Buffer.concat([compressSegment(first), compressSegment(second)]);
    const decoder = new SegmentDecoder();
    const target = new Uint8Array(SEGMENT_MAX);
    const end = compressSegment(first).length;
    for (let cut = 0; cut < end; cut++) expect(decoder.decode(stored.subarray(0, cut), target)).toBeNull();
    expect(decoder.decode(stored, target)).toEqual({ taken: end, length: 3000 });
    expect(Buffer.from(target.subarray(0, 3000)).equals(first)).toBe(true);
    expect(decoder.decode(stored.subarray(end), target)).toEqual({ taken: stored.length - end, length: 10 });
  });

  test('empty and too long ones are not made', () => {
    expect(() => compressSegment(new Uint8Array(0))).toThrow(NbdeltaError);
    expect(() => compressSegment(new Uint8Array(SEGMENT_MAX + 1))).toThrow(NbdeltaError);
  });

  test('a segment that claims more than the limit is refused before memory is taken', () => {
    const huge = new Uint8Array(SEGMENT_MAX + 1);
    const out = new Uint8Array(sealedCapacity(huge.length));
    const bomb = out.slice(0, createCompressor(3).compress(out, huge));
    expect(bomb.length).toBeLessThan(500);
    expect(() => new SegmentDecoder().decode(bomb, new Uint8Array(2 * SEGMENT_MAX))).toThrow(DamagedError);
  });

  test('what is no zstd frame is refused as soon as a whole segment would have been there', () => {
    expect(() =>
      new SegmentDecoder().decode(new Uint8Array(2 * SEGMENT_MAX), new Uint8Array(SEGMENT_MAX)),
    ).toThrow(DamagedError);
  });

  test('hostile bytes: wait for more, decode, or our own error', () => {
    const stored = compressSegment(Buffer.alloc(500, 'text'));
    const target = new Uint8Array(SEGMENT_MAX);
    fc.assert(
      fc.property(fc.nat(stored.length - 1), fc.nat(255), (at, value) => {
        const hostile = Uint8Array.from(stored);
        hostile[at] = value;
        try {
          const result = new SegmentDecoder().decode(hostile, target);
          if (result !== null) expect(result.length).toBeLessThanOrEqual(SEGMENT_MAX);
        } catch (error) {
          expect(error).toBeInstanceOf(DamagedError);
        }
      }),
      { numRuns: 500 },
    );
  });
});
