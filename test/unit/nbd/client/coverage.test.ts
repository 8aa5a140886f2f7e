import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Coverage } from '#nbdelta/nbd/client/coverage.js';

const TWICE = expect.objectContaining({ code: 'NBD_PROTOCOL', message: expect.stringMatching(/twice/) });

describe('Coverage', () => {
  it('counts bytes in any order', () => {
    const coverage = new Coverage();
    coverage.add(30, 10);
    coverage.add(0, 10);
    coverage.add(10, 20);
    expect(coverage.bytes).toBe(40);
    expect(() => coverage.add(39, 1)).toThrow(TWICE);
    coverage.add(40, 1);
    expect(coverage.bytes).toBe(41);
  });

  it.each([
    ['the same', 10, 10],
    ['inside', 12, 2],
    ['around', 5, 30],
    ['its first byte', 5, 6],
    ['its last byte', 19, 5],
  ])('refuses %s range', (_name, offset, length) => {
    const coverage = new Coverage();
    coverage.add(10, 10);
    expect(() => coverage.add(offset, length)).toThrow(TWICE);
  });

  it('agrees with a byte per byte', () => {
    const range = fc.record({ offset: fc.nat(60), length: fc.integer({ min: 1, max: 12 }) });
    fc.assert(
      fc.property(fc.array(range, { maxLength: 40 }), ranges => {
        const coverage = new Coverage();
        const model = new Uint8Array(80);
        for (const { offset, length } of ranges) {
          const bytes = model.subarray(offset, offset + length);
          if (bytes.includes(1)) {
            expect(() => coverage.add(offset, length)).toThrow(TWICE);
          } else {
            coverage.add(offset, length);
            bytes.fill(1);
          }
          expect(coverage.bytes).toBe(model.reduce((sum, byte) => sum + byte, 0));
        }
      }),
    );
  });

  it('joins both neighbours: bytes that come from the end to the start are one fragment', () => {
    const coverage = new Coverage();
    for (let at = 99_999; at >= 0; at--) coverage.add(at, 1);
    expect(coverage.bytes).toBe(100_000);
    for (let at = 200_000; at < 208_000; at += 2) coverage.add(at, 1);
    for (let at = 200_001; at < 208_000; at += 2) coverage.add(at, 1);
    for (let at = 300_000; at < 308_000; at += 2) coverage.add(at, 1);
    expect(() => coverage.add(203_999, 1)).toThrow(TWICE);
    expect(coverage.bytes).toBe(112_000);
  });

  it('refuses a reply in thousands of fragments that do not touch', () => {
    const coverage = new Coverage();
    const add = () => {
      for (let at = 1 << 17; at >= 0; at -= 2) coverage.add(at, 1);
    };
    expect(add).toThrow(
      expect.objectContaining({ code: 'NBD_PROTOCOL', message: expect.stringMatching(/4096 frag/) }),
    );
  });
});
