import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ExtentTable } from '#nbdelta/archive/v1/extent-table.js';
import { type MappedArchive, mergeChain } from '#nbdelta/chain/chain-map.js';

interface Row {
  offset: number;
  length: number;
  /** Frame number, or null for zero. */
  frame: number | null;
}

/** An archive of frames of 4 MiB. */
function archive(rows: readonly Row[]): MappedArchive {
  const extents = new ExtentTable();
  for (const { offset, length, frame } of rows) {
    if (frame === null) extents.appendZero(offset, length);
    else extents.append(offset, length, frame, offset % 7);
  }
  return { extents, frameCount: FRAMES };
}

const FRAMES = 51;
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

async function bytesOf(chain: readonly (readonly Row[])[], share?: number): Promise<string[]> {
  const table = await mergeChain(chain.map(archive), SIZE, { share });
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
  it('lets the newest archive win for every byte', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(archiveRows, { maxLength: 9 }),
        fc.integer({ min: 1, max: 12 }),
        async (chain, share) => {
          expect(await bytesOf(chain, share)).toEqual(model(chain));
        },
      ),
      { numRuns: 2000 },
    );
  });

  it('keeps zero as a change: zeroed blocks do not come back with their old content', async () => {
    const chain = [[{ offset: 0, length: 16, frame: 1 }], [{ offset: 4, length: 4, frame: null }]];
    expect((await bytesOf(chain)).slice(3, 9)).toEqual(['0/1/3', 'zero', 'zero', 'zero', 'zero', '0/1/8']);
  });

  it('finds the segment of a byte', async () => {
    const table = await mergeChain([archive([{ offset: 10, length: 10, frame: 3 }])], SIZE);
    expect([table.find(0), table.find(10), table.find(19), table.find(20)]).toEqual([0, 0, 0, 1]);
  });
});
