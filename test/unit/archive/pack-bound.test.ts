import { expect, test } from 'vitest';
import { openArchiveWriter } from '#nbdelta/archive/v1/archive-writer.js';
import { decodePackTable } from '#nbdelta/archive/v1/pack-table.js';
import { parseCodec } from '#nbdelta/codec/codec-spec.js';
import { MemoryVolumes } from './memory-volumes.js';
import { ARCHIVE_ID, openMemory, rowsOf } from './tiny-archive.js';

const MAX = 65_536;
const TIB = 2 ** 40;

function frameOf(offset: number, extents: number) {
  const entries = Array.from({ length: extents }, (_, row) => ({
    offset: offset + row * 4096,
    length: 512,
    zero: false,
  }));
  return {
    stored: new Uint8Array(100),
    rawLength: extents * 512,
    digest: new Uint8Array(32),
    storedDigest: new Uint8Array(16),
    entries,
    release: () => undefined,
  };
}

/** How many extents each pack's table has, as the volume's bytes say. */
function packs(volume: Buffer): number[] {
  const counts: number[] = [];
  for (let at = volume.indexOf('NBDXPACK'); at >= 0; at = volume.indexOf('NBDXPACK', at + 8)) {
    const table = decodePackTable(volume.subarray(at - 8, at + volume.readUInt32LE(at - 4)));
    counts.push(table.extents.count);
  }
  return counts;
}

async function write(fill: (writer: Awaited<ReturnType<typeof openArchiveWriter>>) => Promise<void>) {
  const volumes = new MemoryVolumes();
  const writer = await openArchiveWriter({
    archiveId: ARCHIVE_ID,
    parentArchiveId: null,
    disk: 'vda',
    size: 4096 * TIB,
    frameSize: 1 << 22,
    codec: parseCodec('none'),
    openVolume: volumes.openVolume,
  });
  await fill(writer);
  const { extents } = await writer.finish();
  await using reader = await openMemory(volumes);
  const rows = rowsOf(reader.extents);
  expect(rows).toHaveLength(extents);
  return { counts: packs(volumes.files[0]!), rows };
}

test('a pack ends before a frame that would give it more than 65,536 extents', async () => {
  const { counts } = await write(async writer => {
    for (let row = 0; row < MAX - 6; row++) await writer.addZero(row * 8192, 4096);
    await writer.addFrame(frameOf(TIB, 4096));
  });
  expect(counts).toEqual([MAX - 7, 4097]); // The last zero range still grew when the frame came.
});

test('a frame with all the extents that a pack may have leaves the zero range before it to a pack of its own', async () => {
  const { counts, rows } = await write(async writer => {
    await writer.addZero(0, 100);
    await writer.addFrame(frameOf(4096, 8000));
    await writer.addZero(TIB, 40 * TIB);
    await writer.addFrame({ ...frameOf(50 * TIB, MAX), rawLength: MAX, entries: halves(50 * TIB) });
    await writer.addZero(60 * TIB, 4000 * TIB);
  });
  expect(counts).toEqual([8001, 3, MAX, 250]);
  expect(rows[0]).toEqual({ offset: 0, length: 100, zero: true });
  expect(rows.at(-1)).toMatchObject({ offset: 4044 * TIB, length: 16 * TIB });
});

test('zero ranges and single extents never make a pack too large', async () => {
  const { counts } = await write(async writer => {
    for (let row = 0; row < MAX - 1; row++) await writer.addZero(row * 8192, 4096);
    await writer.addZero(TIB, 3000 * TIB);
    await writer.addZero(3500 * TIB, 1);
  });
  expect(Math.max(...counts)).toBeLessThanOrEqual(MAX);
  expect(counts.reduce((sum, count) => sum + count)).toBe(MAX - 1 + 188 + 1);
});

function halves(offset: number) {
  return Array.from({ length: MAX }, (_, row) => ({ offset: offset + row * 2, length: 1, zero: false }));
}
