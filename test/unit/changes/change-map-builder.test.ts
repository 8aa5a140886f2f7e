import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readChangeMap } from '#nbdelta/changes/change-map.js';
import { ChangeMapBuilder } from '#nbdelta/changes/change-map-builder.js';
import { ExtentKind, type ExtentList } from '#nbdelta/extents/extent-list.js';
import { ALLOCATION, ScriptedStatusSource } from './scripted-status-source.js';

const { data, zero, unchanged } = ExtentKind;

type Run = readonly [length: number, kind: ExtentKind];

const runs = (longest: number) =>
  fc.array(fc.tuple(fc.integer({ min: 1, max: longest }), fc.constantFrom(data, zero, unchanged)), {
    minLength: 1,
    maxLength: 60,
  });

function build(given: readonly Run[], options: { block?: number; extentsPerLevel?: number }): ExtentList {
  const size = given.reduce((sum, [length]) => sum + length, 0);
  const builder = new ChangeMapBuilder({ size, ...options });
  let at = 0;
  for (const [length, kind] of given) {
    if (kind !== unchanged) builder.append(at, length, kind);
    at += length;
  }
  return builder.finish();
}

function bytesOf(list: Iterable<{ offset: number; length: number; kind: ExtentKind }>, size: number) {
  const bytes = new Uint8Array(size).fill(unchanged);
  for (const { offset, length, kind } of list) bytes.fill(kind, offset, offset + length);
  return bytes;
}

function modelOf(given: readonly Run[]): Uint8Array {
  return Uint8Array.from(given.flatMap(([length, kind]) => Array<number>(length).fill(kind)));
}

describe('change map in whole blocks', () => {
  it('a block of one kind keeps it, any other is data: whatever the runs', () => {
    const property = fc.property(runs(40), fc.constantFrom(1, 2, 16, 64), (given, block) => {
      const model = modelOf(given);
      const expected = Uint8Array.from(model, (_, at) => {
        const start = at - (at % block);
        const kinds = new Set(model.subarray(start, start + block));
        return kinds.size === 1 ? model[at]! : data;
      });
      const list = build(given, { block });
      expect(bytesOf(list, model.length)).toEqual(expected);
      for (const { offset, length } of list) {
        expect(offset % block).toBe(0);
        expect((offset + length) % block === 0 || offset + length === model.length).toBe(true);
      }
    });
    fc.assert(property, { numRuns: 1000 });
  });

  it('a map that gets coarser only ever turns zero and unchanged into data', () => {
    const property = fc.property(
      runs(50_000),
      fc.constantFrom(1, 512),
      fc.integer({ min: 1, max: 5 }),
      (given, block, extentsPerLevel) => {
        const model = modelOf(given);
        const seen = bytesOf(build(given, { block, extentsPerLevel }), model.length);
        const wrong = model.findIndex((kind, at) => seen[at] !== kind && seen[at] !== data);
        expect(wrong).toBe(-1);
      },
    );
    fc.assert(property, { numRuns: 30 });
  });

  it('a hostile server cuts its disk into tiny extents: their number stays bounded', () => {
    const given = Array.from({ length: 400_000 }, (_, row) => [1000, row % 2 ? zero : data] as const);
    const list = build(given, { extentsPerLevel: 1000 });
    expect(list.count).toBeLessThan(4000);
    expect(list.end).toBe(400_000_000);
  });

  it('readChangeMap widens to the block it is told', async () => {
    const source = new ScriptedStatusSource(100, { [ALLOCATION]: modelAllocation(100, 40) });
    expect([...(await readChangeMap(source, { block: 32 }))]).toEqual([
      { offset: 0, length: 64, kind: data },
      { offset: 64, length: 36, kind: zero },
    ]);
  });

  it('a server that cuts petabytes into single bytes is refused', async () => {
    const count = 1 << 20;
    const lengths = new Float64Array(count).fill(1);
    const statuses = Uint32Array.from({ length: count }, (_, row) => (row % 2 ? 3 : 0));
    let replies = 0;
    const source = {
      size: 2 ** 52,
      contexts: [ALLOCATION],
      blockStatus: async (offset: number) => {
        replies++;
        return new Map([[ALLOCATION, { offset, lengths, statuses, total: count }]]);
      },
    };
    await expect(readChangeMap(source)).rejects.toMatchObject({ code: 'NBD_PROTOCOL' });
    expect(replies).toBeLessThan(10);
  });
});

/** Data up to `end`, zero from there on. */
function modelAllocation(size: number, end: number): Uint8Array {
  return new Uint8Array(size).fill(3, end);
}
