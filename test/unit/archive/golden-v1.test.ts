import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { openArchive } from '#nbdelta/archive/v1/archive-reader.js';
import { decodePackTable } from '#nbdelta/archive/v1/pack-table.js';
import { zstdFrameLength } from '#nbdelta/codec/zstd.js';
import { openBuffer } from './memory-volumes.js';
import { applyArchive, rowsOf } from './tiny-archive.js';

/** Made by `python3 fixtures/make-golden-v1.py fixtures/golden-v1`: a writer of its own. */
const GOLDEN = new URL('../../../fixtures/golden-v1/', import.meta.url);
const POINTS = readdirSync(new URL('web1/', GOLDEN)).sort();

interface GoldenDisk {
  readonly size: number;
  readonly archive: {
    readonly archiveId: string;
    readonly volumes: readonly { readonly name: string; readonly bytes: number }[];
    readonly index: { readonly sha256: string };
  };
}

function openPoint(point: string) {
  const folder = new URL(`web1/${point}/`, GOLDEN);
  const manifest = JSON.parse(readFileSync(new URL('manifest.json', folder), 'utf8')) as {
    disks: GoldenDisk[];
  };
  const { size, archive } = manifest.disks[0]!;
  return openArchive({
    readVolume: async volume => openBuffer(readFileSync(new URL(archive.volumes[volume - 1]!.name, folder))),
    volumes: archive.volumes.length,
    expected: {
      archiveId: archive.archiveId,
      indexSha256: archive.index.sha256,
      disk: 'vda',
      size,
      volumeBytes: archive.volumes.map(volume => volume.bytes),
    },
  });
}

describe('golden archives of another writer', () => {
  test('a full and an incremental give the disks they were made from', async () => {
    let disk = Buffer.alloc(0);
    for (const [at, point] of POINTS.entries()) {
      await using reader = await openPoint(point);
      const grown = Buffer.alloc(reader.size);
      disk.copy(grown);
      disk = grown;
      await applyArchive(reader, disk);
      await reader.checkVolumes();
      const expected = readFileSync(new URL(`disk-${at + 1}.sha256`, GOLDEN), 'utf8').split(' ')[0];
      expect(createHash('sha256').update(disk).digest('hex')).toBe(expected);
    }
    expect(POINTS).toHaveLength(2);
  });

  test('the rows of the full are what the maker says', async () => {
    await using reader = await openPoint(POINTS[0]!);
    expect(rowsOf(reader.extents)).toEqual([
      { offset: 0, length: 3000, frame: 0, within: 0 },
      { offset: 3000, length: 97_000, zero: true },
      { offset: 100_000, length: 2000, frame: 1, within: 0 },
      { offset: 200_000, length: 2000, frame: 1, within: 2000 },
      { offset: 999_000, length: 1000, frame: 1, within: 4000 },
    ]);
    expect(await reader.header(1)).toMatchObject({ volume: 1, parentArchiveId: null, codec: 'zstd:1' });
  });

  test('the pack table of the second volume', async () => {
    const file = readFileSync(new URL(`web1/${POINTS[0]}/vda.0002.tar`, GOLDEN));
    await using reader = await openPoint(POINTS[0]!);
    const { frames } = reader;
    const tableAt = frames.offsetAt(1) + frames.storedLengthAt(1);
    const table = decodePackTable(file.subarray(tableAt, tableAt + zstdFrameLength(file.subarray(tableAt))));
    expect(table).toMatchObject({ archiveId: reader.archiveId, pack: 2, firstFrame: 1 });
    expect(Buffer.compare(table.frames.digestAt(0), frames.digestAt(1))).toBe(0);
    expect(rowsOf(table.extents)).toEqual(rowsOf(reader.extents));
  });
});
