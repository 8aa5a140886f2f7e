import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compactFrame, findZeroRuns, ZERO_RUN_MIN } from '#nbdelta/codec/zero-runs.js';

interface Piece {
  readonly spans: readonly { readonly zero: boolean; readonly length: number }[];
}

const length = fc.oneof(
  fc.integer({ min: 1, max: 300 }),
  fc.integer({ min: ZERO_RUN_MIN - 2, max: ZERO_RUN_MIN + 2 }),
  fc.constantFrom(1, 4095, 4096, 4097, 32_768, 131_072, 200_001),
);
const piece: fc.Arbitrary<Piece> = fc.record({
  spans: fc.array(fc.record({ zero: fc.boolean(), length }), { minLength: 1, maxLength: 7 }),
});

function build(pieces: readonly Piece[]): { raw: Uint8Array; pieceLengths: Uint32Array } {
  const lengths = pieces.map(({ spans }) => spans.reduce((sum, span) => sum + span.length, 0));
  const raw = new Uint8Array(lengths.reduce((sum, each) => sum + each, 0));
  let at = 0;
  for (const { zero, length } of pieces.flatMap(({ spans }) => spans)) {
    if (!zero) for (let end = at + length, here = at; here < end; here++) raw[here] = 1 + (here % 255);
    at += length;
  }
  return { raw, pieceLengths: Uint32Array.from(lengths) };
}

/** Byte by byte, as the words say it. */
function naiveRuns(raw: Uint8Array, pieceLengths: Uint32Array): number[] {
  const runs: number[] = [];
  let start = 0;
  for (const [index, length] of pieceLengths.entries()) {
    for (let at = 0; at < length; ) {
      let end = at;
      while (end < length && raw[start + end] === 0) end++;
      if (end - at >= ZERO_RUN_MIN || (end - at === length && length > 0)) runs.push(index, at, end - at);
      at = Math.max(end, at + 1);
    }
    start += length;
  }
  return runs;
}

describe('zero runs', () => {
  test('are those of a byte loop, and compaction keeps the other bytes in order', () => {
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 5 }), fc.nat(3), (pieces, misaligned) => {
        const { raw, pieceLengths } = build(pieces);
        const moved = new Uint8Array(raw.length + misaligned).subarray(misaligned);
        moved.set(raw);
        const runs = findZeroRuns(moved, pieceLengths);
        expect(Array.from(runs)).toEqual(naiveRuns(raw, pieceLengths));
        const live = compactFrame(moved, pieceLengths, runs);
        expect(Buffer.from(moved.subarray(0, live)).equals(withoutRuns(raw, pieceLengths, runs))).toBe(true);
      }),
      { numRuns: 150 },
    );
  });

  test('a run of exactly the minimum is found at every alignment', () => {
    const size = 3 * ZERO_RUN_MIN;
    for (let start = 0; start < 9000; start += 61) {
      const raw = new Uint8Array(size).fill(7);
      raw.fill(0, start, start + ZERO_RUN_MIN);
      expect(Array.from(findZeroRuns(raw, Uint32Array.of(size)))).toEqual([0, start, ZERO_RUN_MIN]);
      raw[start + ZERO_RUN_MIN - 1] = 1;
      expect(findZeroRuns(raw, Uint32Array.of(size))).toHaveLength(0);
    }
  });

  test('short pieces count when they are zero as a whole; runs do not cross pieces', () => {
    const raw = new Uint8Array(ZERO_RUN_MIN + 12);
    raw[5] = 1;
    const lengths = Uint32Array.of(4, 4, 0, 4, ZERO_RUN_MIN - 1, 1);
    const shorter = Uint32Array.of(0, 0, 4, 3, 0, 4, 4, 0, ZERO_RUN_MIN - 1, 5, 0, 1);
    expect(findZeroRuns(raw, lengths)).toEqual(shorter);
    expect(findZeroRuns(new Uint8Array(0), new Uint32Array(0))).toHaveLength(0);
  });
});

function withoutRuns(raw: Uint8Array, pieceLengths: Uint32Array, runs: Uint32Array): Buffer {
  const keep = new Uint8Array(raw.length).fill(1);
  const starts = Array.from(pieceLengths, (_, piece) =>
    pieceLengths.slice(0, piece).reduce((sum, each) => sum + each, 0),
  );
  for (let run = 0; run < runs.length; run += 3) {
    const at = starts[runs[run]!]! + runs[run + 1]!;
    keep.fill(0, at, at + runs[run + 2]!);
  }
  return Buffer.from(raw.filter((_, at) => keep[at] === 1));
}
