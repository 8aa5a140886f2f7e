import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { openArchive } from '#nbdelta/archive/v1/archive-reader.js';
import type { ArchiveSummary } from '#nbdelta/archive/v1/archive-writer.js';
import { NbdeltaError } from '#nbdelta/errors.js';
import { MemoryVolumes, openBuffer } from './memory-volumes.js';
import { applyArchive, openMemory, writeArchive } from './tiny-archive.js';

const disk = Buffer.alloc(300_000);
for (let at = 0; at < disk.length; at++)
  disk[at] = at < 150_000 ? (Math.imul(at, 2654435761) >>> 11) & 0xff : 0;
const steps = [
  {
    kind: 'frame' as const,
    pieces: [
      { offset: 0, length: 40_000 },
      { offset: 50_000, length: 10_000 },
    ],
  },
  { kind: 'frame' as const, pieces: [{ offset: 60_000, length: 90_000 }] },
  { kind: 'zero' as const, offset: 150_000, length: 100_000 },
];

let volumes: MemoryVolumes;
let summary: ArchiveSummary;
beforeAll(async () => {
  // 17 frames close the first pack; the small limit puts the second one into a second volume.
  const many = Array.from({ length: 16 }, (_, at) => ({
    kind: 'frame' as const,
    pieces: [{ offset: 260_000 + at * 10, length: 10 }],
  }));
  for (const { pieces } of many) disk.fill(0x55, pieces[0]!.offset, pieces[0]!.offset + 10);
  ({ volumes, summary } = await writeArchive(disk, [...steps, ...many], { maxVolumeBytes: 8192 }));
});

function expected() {
  return {
    archiveId: summary.archiveId,
    indexSha256: summary.index.sha256,
    disk: 'vda',
    size: disk.length,
    volumeBytes: summary.volumes.map(volume => volume.bytes),
  };
}

/** The archive with one file replaced. */
function withFile(volume: number, file: Buffer): MemoryVolumes {
  const copy = new MemoryVolumes();
  copy.files.push(...volumes.files);
  copy.files[volume - 1] = file;
  return copy;
}

/** Opens and restores everything; the code of the error that stops it, or what came out. */
async function restore(from: MemoryVolumes, withExpectation = true): Promise<string | Buffer> {
  const target = Buffer.alloc(disk.length, 0xaa);
  try {
    await using reader = await openMemory(from, withExpectation ? { expected: expected() } : {});
    await applyArchive(reader, target);
    await reader.checkVolumes();
    return target;
  } catch (error) {
    if (error instanceof NbdeltaError) return error.code;
    return (error as Error).message;
  }
}

describe('damaged archives', () => {
  test('there are two volumes, and they are fine', async () => {
    expect(volumes.files).toHaveLength(2);
    expect(await restore(volumes)).toBeInstanceOf(Buffer);
    expect(await restore(volumes, false)).toBeInstanceOf(Buffer);
  });

  test('a volume that ends early is refused, with and without a manifest', async () => {
    for (const volume of [1, 2]) {
      const file = volumes.files[volume - 1]!;
      const cuts = [
        0,
        1,
        511,
        512,
        2047,
        2048,
        file.length - 2048,
        file.length - 1024,
        file.length - 512,
        file.length - 1,
      ];
      for (let cut = 0; cut < file.length; cut += 997) cuts.push(cut);
      for (const cut of cuts) {
        const torn = withFile(volume, file.subarray(0, cut));
        expect(await restore(torn), `volume ${volume} cut at ${cut}`).toBe('CHAIN_TORN');
        expect(await restore(torn, false), `volume ${volume} cut at ${cut}, no manifest`).toBe('CHAIN_TORN');
      }
    }
  });

  test('a byte flipped anywhere gives an error or the right bytes, never others', async () => {
    const whole = (await restore(volumes)) as Buffer;
    const flip = fc.tuple(fc.constantFrom(1, 2), fc.nat(), fc.integer({ min: 1, max: 255 }), fc.boolean());
    await fc.assert(
      fc.asyncProperty(flip, async ([volume, at, bits, withExpectation]) => {
        const file = Buffer.from(volumes.files[volume - 1]!);
        file[at % file.length]! ^= bits;
        const result = await restore(withFile(volume, file), withExpectation);
        if (result instanceof Buffer) expect(result.equals(whole)).toBe(true);
      }),
      { numRuns: 600 },
    );
  });

  test('every byte of the index is covered by its digest', async () => {
    const { volume, offset, storedLength } = summary.index;
    for (let at = 0; at < storedLength; at++) {
      const file = Buffer.from(volumes.files[volume - 1]!);
      file[offset + at]! ^= 0x10;
      expect(await restore(withFile(volume, file)), `index byte ${at}`).toBe('DATA_DAMAGED');
    }
  });

  test('every byte of frame data is covered by a digest', async () => {
    await using reader = await openMemory(volumes);
    for (let frame = 0; frame < reader.frames.count; frame += 3) {
      const [volume, offset] = [reader.frames.volumeAt(frame), reader.frames.offsetAt(frame)];
      for (const at of [0, 5, reader.frames.storedLengthAt(frame) - 1]) {
        const file = Buffer.from(volumes.files[volume - 1]!);
        file[offset + at]! ^= 0x01;
        expect(await restore(withFile(volume, file))).toBe(`frame ${frame}: stored-digest`);
      }
    }
  });

  test('files in the wrong place are foreign', async () => {
    const other = await writeArchive(disk, steps, { archiveId: 'ffffffffffffffffffffffffffffffff' });
    const otherDisk = await writeArchive(disk, steps, { disk: 'vdb' });
    await expect(
      openMemory(other.volumes, { expected: { archiveId: summary.archiveId } }),
    ).rejects.toMatchObject({ code: 'CHAIN_FOREIGN' });
    await expect(openMemory(other.volumes, { expected: { size: 5 } })).rejects.toMatchObject({
      code: 'CHAIN_FOREIGN',
    });
    await using reader = await openMemory(otherDisk.volumes, { expected: { disk: 'vda' } });
    await expect(reader.readStored(0, new Uint8Array(1 << 20))).rejects.toMatchObject({
      code: 'CHAIN_FOREIGN',
    });
    expect(await restore(withFile(1, volumes.files[1]!), false)).toBe('CHAIN_FOREIGN');
    const foreign = Buffer.from(
      volumes.files[0]!.toString('latin1').replaceAll(summary.archiveId, 'f'.repeat(32)),
      'latin1',
    );
    expect(await restore(withFile(1, foreign), false)).toBe('CHAIN_FOREIGN');
  });

  test('a missing last volume is torn; another index than the manifest names is damage', async () => {
    await expect(
      openArchive({ readVolume: async () => openBuffer(volumes.files[0]!), volumes: 1 }),
    ).rejects.toMatchObject({ code: 'CHAIN_TORN' });
    for (const expected of [{ indexSha256: '0'.repeat(64) }, { indexRawLength: 1 }, { frames: 1e6 }]) {
      await expect(openMemory(volumes, { expected })).rejects.toMatchObject({ code: 'DATA_DAMAGED' });
    }
  });
});
