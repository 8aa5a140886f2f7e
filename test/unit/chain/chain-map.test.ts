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

/** Rows count in units of so many bytes. */
interface Scale {
  readonly unit: number;
}

/** An archive of frames of 4 MiB. */
function archive(rows: readonly Row[], { unit }: Scale = { unit: 1 }): MappedArchive {
  const extents = new ExtentTable();
  for (const { offset, length, frame } of rows) {
    if (frame === null) extents.appendZero(offset * unit, length * unit);
    else extents.append(offset * unit, length * unit, frame, (offset % 7) * unit);
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

/** The map, unit by unit. */
async function unitsOf(
  chain: readonly (readonly Row[])[],
  { share, unit }: Scale & { readonly share?: number } = { unit: 1 },
): Promise<string[]> {
  const archives = chain.map(rows => archive(rows, { unit }));
  const table = await mergeChain(archives, SIZE * unit, { share });
  const units = new Array<string>(SIZE).fill('none');
  let end = 0;
  for (let index = 0; index < table.count; index++) {
    expect(table.offsetAt(index)).toBeGreaterThanOrEqual(end);
    expect(table.lengthAt(index)).toBeGreaterThan(0);
    const start = table.offsetAt(index);
    end = table.endAt(index);
    expect([start % unit, end % unit, table.withinAt(index) % unit]).toEqual([0, 0, 0]);
    for (let at = start; at < end; at += unit) {
      const within = (table.withinAt(index) + at - start) / unit;
      units[at / unit] = table.isZeroAt(index)
        ? 'zero'
        : `${table.archiveAt(index)}/${table.frameAt(index)}/${within}`;
    }
  }
  return units;
}

/** Of a power of two: windows are painted. Of another number, and a large one: they are swept. */
const UNITS = [1, 65_536, 1021, 100_003];

describe('mergeChain', () => {
  it.each(UNITS)('lets the newest archive win for every byte, in units of %i', async unit => {
    const chains = fc.array(archiveRows, { maxLength: 9 });
    const shares = fc.integer({ min: 1, max: 12 });
    await fc.assert(
      fc.asyncProperty(chains, shares, async (chain, share) => {
        expect(await unitsOf(chain, { share, unit })).toEqual(model(chain));
      }),
      { numRuns: 700 },
    );
  });

  it('keeps zero as a change: zeroed blocks do not come back with their old content', async () => {
    const chain = [[{ offset: 0, length: 16, frame: 1 }], [{ offset: 4, length: 4, frame: null }]];
    expect((await unitsOf(chain)).slice(3, 9)).toEqual(['0/1/3', 'zero', 'zero', 'zero', 'zero', '0/1/8']);
  });

  it('keeps zeroes apart that are too long for one row, and joins those that are not', async () => {
    const size = 2 ** 50;
    const extents = new ExtentTable();
    for (let at = 0; at < 3; at++) extents.appendZero(at * 2 ** 44, 2 ** 44);
    const table = await mergeChain([{ extents, frameCount: 0 }], size);
    expect(table.count).toBe(3);
    expect([table.offsetAt(2), table.endAt(2)]).toEqual([2 ** 45, 3 * 2 ** 44]);
    const halves = new ExtentTable();
    for (let at = 0; at < 2; at++) halves.appendZero(at * 2 ** 43, 2 ** 43);
    expect((await mergeChain([{ extents: halves, frameCount: 0 }], size)).count).toBe(1);
  });

  it('stops when it is told to, and gives the event loop its turns', async () => {
    const extents = new ExtentTable();
    for (let at = 0; at < 3_000_000; at++) extents.append(at * 8192, 4096, 0, 0);
    const stop = new AbortController();
    setTimeout(() => stop.abort(), 1);
    const opening = mergeChain([{ extents, frameCount: 1 }], 2 ** 50, { signal: stop.signal });
    await expect(opening).rejects.toMatchObject({ code: 'ABORTED' });
  });

  it('finds the segment of a byte', async () => {
    const table = await mergeChain([archive([{ offset: 10, length: 10, frame: 3 }])], SIZE);
    expect([table.find(0), table.find(10), table.find(19), table.find(20)]).toEqual([0, 0, 0, 1]);
  });
});
