import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { expectedAfter, randomDisk } from './random-disk.js';
import { applyArchive, openMemory, rowsOf, writeArchive } from './tiny-archive.js';

const volumeLimit = fc.constantFrom(undefined, 4096, 20_000, 1 << 20);

describe('archive writer and reader', () => {
  test('what was written is read, whatever the extents and volumes', async () => {
    await fc.assert(
      fc.asyncProperty(randomDisk, volumeLimit, async (random, maxVolumeBytes) => {
        const options = maxVolumeBytes === undefined ? {} : { maxVolumeBytes };
        const { volumes, summary } = await writeArchive(random.disk, random.steps, options);
        const { index } = summary;
        await using reader = await openMemory(volumes, {
          expected: {
            archiveId: summary.archiveId,
            indexSha256: index.sha256,
            disk: 'vda',
            size: random.disk.length,
            volumeBytes: summary.volumes.map(volume => volume.bytes),
          },
        });
        const target = Buffer.alloc(random.disk.length, 0xaa);
        await applyArchive(reader, target);
        expect(target.equals(expectedAfter(random))).toBe(true);
        expect(reader.extents.count).toBe(summary.extents);
        expect(reader.frames.count).toBe(summary.frames);
        const covered = rowsOf(reader.extents).reduce((sum, row) => sum + row.length, 0);
        expect(covered).toBe(summary.dataBytes + summary.zeroBytes);
        await reader.checkVolumes();
      }),
      { numRuns: 150 },
    );
  });

  test('the same input gives the same bytes', async () => {
    await fc.assert(
      fc.asyncProperty(randomDisk, volumeLimit, async ({ disk, steps }, maxVolumeBytes) => {
        const options = maxVolumeBytes === undefined ? {} : { maxVolumeBytes };
        const first = await writeArchive(disk, steps, options);
        const second = await writeArchive(disk, steps, options);
        expect(second.summary).toEqual(first.summary);
        expect(second.volumes.files.length).toBe(first.volumes.files.length);
        for (const [at, file] of first.volumes.files.entries()) {
          expect(second.volumes.files[at]!.equals(file)).toBe(true);
        }
      }),
      { numRuns: 30 },
    );
  });

  test('volumes keep to their limit when packs are smaller', async () => {
    const disk = Buffer.alloc(3 << 20);
    for (let at = 0; at < disk.length; at++) disk[at] = (Math.imul(at, 2654435761) >>> 13) & 0xff;
    const steps = Array.from({ length: 768 }, (_, at) => ({
      kind: 'frame' as const,
      pieces: [{ offset: at * 4096, length: 4096 }],
    }));
    const { volumes, summary } = await writeArchive(disk, steps, { maxVolumeBytes: 400_000 });
    expect(volumes.files.length).toBeGreaterThan(2);
    for (const [at, file] of volumes.files.entries()) {
      expect(file.length).toBeLessThanOrEqual(400_000);
      expect(file.length).toBe(summary.volumes[at]!.bytes);
    }
    expect(volumes.closed).toEqual(volumes.files.map((_, at) => at + 1));
  });
});
