import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ArchiveExtents, mergeChain } from '#nbdelta/chain/chain-map.js';

interface Row {
  offset: number;
  length: number;
  /** Frame number, or null for zero. */
  frame: number | null;
}

function archive(rows: readonly Row[]): ArchiveExtents {
  return {
    count: rows.length,
    offsetAt: index => rows[index]!.offset,
    lengthAt: index => rows[index]!.length,
    frameAt: index => rows[index]!.frame ?? 0xffffffff,
    withinAt: index => rows[index]!.offset % 7,
    isZeroAt: index => rows[index]!.frame === null,
  };
}

const SIZE = 64;

/** Sorted rows without overlap, from gaps and lengths. */
const archiveRows = fc
  .array(
    fc.record({
      gap: fc.nat(6),
      length: fc.integer({ min: 1, max: 9 }),
      frame: fc.option(fc.nat(50), { nil: null }),
    }),
    { maxLength: 12 },
  )
  .map(steps => {
    let at = 0;
    const rows: Row[] = [];
    for (const { gap, length, frame } of steps) {
      rows.push({ offset: at + gap, length, frame });
      at += gap + length;
    }
    return rows;
  });

/** For each byte: archive, frame and place in the frame, or zero, or nothing. */
function model(chain: readonly (readonly Row[])[]): string[] {
  const bytes = new Array<string>(SIZE).fill('none');
  chain.forEach((rows, position) => {
    for (const row of rows) {
      for (let at = row.offset; at < Math.min(SIZE, row.offset + row.length); at++) {
        bytes[at] =
          row.frame === null ? 'zero' : `${position}/${row.frame}/${(row.offset % 7) + at - row.offset}`;
      }
    }
  });
  return bytes;
}

function bytesOf(chain: readonly (readonly Row[])[]): string[] {
  const table = mergeChain(chain.map(archive), SIZE);
  const bytes = new Array<string>(SIZE).fill('none');
  let end = 0;
  for (let index = 0; index < table.count; index++) {
    expect(table.offsetAt(index)).toBeGreaterThanOrEqual(end);
    expect(table.lengthAt(index)).toBeGreaterThan(0);
    end = table.endAt(index);
    for (let at = table.offsetAt(index); at < end; at++) {
      const within = table.withinAt(index) + at - table.offsetAt(index);
      bytes[at] = table.isZeroAt(index)
        ? 'zero'
        : `${table.archiveAt(index)}/${table.frameAt(index)}/${within}`;
    }
  }
  return bytes;
}

describe('mergeChain', () => {
  it('lets the newest archive win for every byte', () => {
    fc.assert(
      fc.property(fc.array(archiveRows, { maxLength: 9 }), chain => {
        expect(bytesOf(chain)).toEqual(model(chain));
      }),
      { numRuns: 2000 },
    );
  });

  it('keeps zero as a change: zeroed blocks do not come back with their old content', () => {
    const chain = [[{ offset: 0, length: 16, frame: 1 }], [{ offset: 4, length: 4, frame: null }]];
    expect(bytesOf(chain).slice(3, 9)).toEqual(['0/1/3', 'zero', 'zero', 'zero', 'zero', '0/1/8']);
  });

  it('finds the segment of a byte', () => {
    const table = mergeChain([archive([{ offset: 10, length: 10, frame: 3 }])], SIZE);
    expect([table.find(0), table.find(10), table.find(19), table.find(20)]).toEqual([0, 0, 0, 1]);
  });
});
