import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readChangeMap } from '#nbdelta/changes/change-map.js';
import { ALLOCATION, BITMAP, ScriptedStatusSource } from './scripted-status-source.js';

const MAX = 300;

/** A status for each byte, in runs. */
const statuses = (values: readonly number[]) =>
  fc
    .array(fc.tuple(fc.integer({ min: 1, max: 40 }), fc.constantFrom(...values)), {
      minLength: 8,
      maxLength: 60,
    })
    .map(runs => Uint8Array.from(runs.flatMap(([length, status]) => Array<number>(length).fill(status))));

function padded(model: Uint8Array, size: number): Uint8Array {
  const result = new Uint8Array(size);
  result.set(model.subarray(0, size));
  return result;
}

/** 0 data, 1 zero, 2 unchanged for each byte: the definition, without extents. */
function expected(size: number, allocation: Uint8Array, dirty: Uint8Array | undefined, changedFrom: number) {
  return Uint8Array.from({ length: size }, (_, at) => {
    const changed = !dirty || at >= changedFrom || (dirty[at]! & 1) !== 0;
    if (!changed) return 2;
    return (allocation[at]! & 2) !== 0 ? 1 : 0;
  });
}

describe('readChangeMap against a byte model', () => {
  it('any run lengths, any truncation and overrun of replies, any growth', async () => {
    const property = fc.asyncProperty(
      fc.integer({ min: 1, max: MAX }),
      statuses([0, 1, 2, 3]),
      fc.option(statuses([0, 1, 2, 3]), { nil: undefined }),
      fc.option(fc.nat(MAX), { nil: undefined }),
      fc.array(fc.integer({ min: 1, max: 2 * MAX }), { minLength: 1, maxLength: 20 }),
      async (size, allocation, dirty, changedFrom, reaches) => {
        const models = {
          [ALLOCATION]: padded(allocation, size),
          ...(dirty && { [BITMAP]: padded(dirty, size) }),
        };
        // The same answer for the same question: reach is asked twice per reply.
        const reach = (name: string, offset: number, length: number) => {
          const chosen = reaches[(offset + name.length) % reaches.length]!;
          return chosen > 1.5 * MAX ? length + 7 : Math.min(length, chosen);
        };
        const source = new ScriptedStatusSource(size, models, reach);
        const list = await readChangeMap(source, { bitmap: dirty && 'b', changedFrom });
        const seen = new Uint8Array(size).fill(2);
        let end = 0;
        for (const extent of list) {
          expect(extent.offset).toBeGreaterThanOrEqual(end);
          end = extent.offset + extent.length;
          expect(end).toBeLessThanOrEqual(size);
          seen.fill(extent.kind, extent.offset, end);
        }
        const grown = dirty ? (changedFrom ?? Number.POSITIVE_INFINITY) : 0;
        expect(seen).toEqual(expected(size, models[ALLOCATION]!, models[BITMAP], grown));
        expect(source.requests.length).toBeLessThanOrEqual(2 * size);
      },
    );
    await fc.assert(property, { numRuns: 500 });
  });
});
