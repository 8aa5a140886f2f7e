/** The sources that come with the server, against a plain buffer. */
import { truncate, writeFile } from 'node:fs/promises';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { BlockSource } from '#nbdelta/nbd/server/block-source.js';
import { clipExtents } from '#nbdelta/nbd/server/clip-extents.js';
import { RawFileSource } from '#nbdelta/nbd/server/raw-file-source.js';
import { TRACKED_BLOCK, TrackedDisk } from '#nbdelta/nbd/server/tracked-disk.js';
import { tempFolder } from '../../../support/temp-folder.js';

async function read(source: BlockSource, offset = 0, length = source.size): Promise<Buffer> {
  const target = Buffer.alloc(length, 0xaa);
  await source.readInto(offset, target);
  return target;
}

/** The extents of the whole disk, asked for in small steps, as [offset, length, status]; equal ones not joined. */
async function walk(source: BlockSource, context: string, maxExtents: number) {
  const found: (readonly [number, number, number])[] = [];
  let at = 0;
  while (at < source.size) {
    const extents = await source.status(context, at, source.size - at, maxExtents);
    expect(extents.length).toBeGreaterThan(0);
    expect(extents.length).toBeLessThanOrEqual(maxExtents);
    for (const { length, status } of extents) {
      expect(length).toBeGreaterThan(0);
      found.push([at, length, status]);
      at += length;
    }
  }
  expect(at).toBe(source.size);
  return found;
}

describe('TrackedDisk', () => {
  const size = 5 * TRACKED_BLOCK + 777;

  it('is one hole at first', async () => {
    const disk = new TrackedDisk(size);
    expect(await walk(disk, 'base:allocation', 10)).toEqual([[0, size, 3]]);
    expect(await read(disk)).toEqual(Buffer.alloc(size));
    expect(disk.contexts).toEqual(['base:allocation']);
  });

  it('keeps what is written and what is zeroed', async () => {
    const disk = new TrackedDisk(size);
    disk.write(TRACKED_BLOCK - 1, Buffer.from('xyz'));
    disk.addBitmap('b');
    disk.zero(TRACKED_BLOCK, TRACKED_BLOCK);
    disk.write(size - 1, Buffer.from('e'));
    expect(await walk(disk, 'base:allocation', 2)).toEqual([
      [0, TRACKED_BLOCK, 0],
      [TRACKED_BLOCK, 4 * TRACKED_BLOCK, 3],
      [5 * TRACKED_BLOCK, 777, 0],
    ]);
    expect(await walk(disk, 'qemu:dirty-bitmap:b', 1)).toEqual([
      [0, TRACKED_BLOCK, 0],
      [TRACKED_BLOCK, TRACKED_BLOCK, 1],
      [2 * TRACKED_BLOCK, 3 * TRACKED_BLOCK, 0],
      [5 * TRACKED_BLOCK, 777, 1],
    ]);
    expect((await read(disk, TRACKED_BLOCK - 2, 4)).toString('latin1')).toBe('\0x\0\0');
  });

  it('freezes a moment: content, allocation and bitmaps', async () => {
    const disk = new TrackedDisk(size);
    disk.addBitmap('b', 4096);
    disk.write(0, Buffer.from('before'));
    const snapshot = disk.snapshot();
    disk.write(0, Buffer.from('after!'));
    disk.zero(TRACKED_BLOCK, 1);
    disk.addBitmap('later');
    disk.removeBitmap('b');
    expect((await read(snapshot, 0, 6)).toString()).toBe('before');
    expect((await read(disk, 0, 6)).toString()).toBe('after!');
    expect(snapshot.contexts).toEqual(['base:allocation', 'qemu:dirty-bitmap:b']);
    expect(await snapshot.status('qemu:dirty-bitmap:b', 0, 8192, 9)).toEqual([
      { length: 4096, status: 1 },
      { length: 4096, status: 0 },
    ]);
    expect(() => disk.status('qemu:dirty-bitmap:b', 0, 1, 1)).toThrow(/no meta context/);
  });

  it('refuses what lies outside, and bad bitmaps', async () => {
    const disk = new TrackedDisk(size);
    expect(() => disk.write(size, Buffer.of(1))).toThrow(/outside/);
    expect(() => disk.zero(-1, 1)).toThrow(/outside/);
    await expect(read(disk, size - 1, 2)).rejects.toThrow(/outside/);
    expect(() => disk.addBitmap('b', 1000)).toThrow(/power of two/);
    disk.addBitmap('b');
    expect(() => disk.addBitmap('b')).toThrow(/already/);
  });

  it('does what a buffer does, and its maps never claim too little', async () => {
    const operation = fc.record({
      kind: fc.constantFrom('write', 'zero', 'snapshot'),
      offset: fc.nat(size - 1),
      length: fc.oneof(fc.nat(600), fc.nat(3 * TRACKED_BLOCK)),
      byte: fc.integer({ min: 1, max: 255 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(operation, { maxLength: 12 }), async operations => {
        const disk = new TrackedDisk(size);
        disk.addBitmap('b', 4096);
        let model = Buffer.alloc(size);
        const frozen: [BlockSource, Buffer][] = [];
        for (const { kind, offset, length, byte } of operations) {
          const taken = Math.min(length, size - offset);
          if (kind === 'snapshot') frozen.push([disk.snapshot(), Buffer.from(model)]);
          else if (kind === 'write') disk.write(offset, Buffer.alloc(taken, byte));
          else disk.zero(offset, taken);
          if (kind !== 'snapshot') model.fill(kind === 'write' ? byte : 0, offset, offset + taken);
        }
        for (const [source, content] of [...frozen, [disk, model] as [BlockSource, Buffer]]) {
          expect((await read(source)).equals(content)).toBe(true);
          for (const [offset, length, status] of await walk(source, 'base:allocation', 3)) {
            if (status & 2)
              expect(content.subarray(offset, offset + length).every(byte => byte === 0)).toBe(true);
          }
          for (const [offset, length, status] of await walk(source, 'qemu:dirty-bitmap:b', 3)) {
            if (!status)
              expect(content.subarray(offset, offset + length).every(byte => byte === 0)).toBe(true);
          }
        }
        model = Buffer.alloc(0);
      }),
      { numRuns: 40 },
    );
  });
});

describe('RawFileSource', () => {
  it('serves a file, all of it data', async () => {
    await using folder = await tempFolder();
    await writeFile(folder.file('disk'), 'content of a disk');
    await using source = await RawFileSource.open(folder.file('disk'));
    expect(source.size).toBe(17);
    expect((await read(source, 8, 2)).toString()).toBe('of');
    expect(source.status('base:allocation', 5, 10, 4)).toEqual([{ length: 10, status: 0 }]);
  });

  it('answers a given allocation', async () => {
    await using folder = await tempFolder();
    await writeFile(folder.file('disk'), Buffer.alloc(100));
    const allocation = [
      { length: 50, status: 3 },
      { length: 50, status: 0 },
    ];
    await using source = await RawFileSource.open(folder.file('disk'), { allocation });
    expect(await walk(source, 'base:allocation', 1)).toEqual([
      [0, 50, 3],
      [50, 50, 0],
    ]);
    expect(source.status('base:allocation', 49, 2, 9)).toEqual([
      { length: 1, status: 3 },
      { length: 1, status: 0 },
    ]);
    const short = RawFileSource.open(folder.file('disk'), { allocation: [{ length: 99, status: 3 }] });
    await expect(short).rejects.toThrow(/covers 99 bytes/);
  });

  it('that was cut off is an error, never zeroes', async () => {
    await using folder = await tempFolder();
    await writeFile(folder.file('disk'), Buffer.alloc(8192, 1));
    await using source = await RawFileSource.open(folder.file('disk'));
    await truncate(folder.file('disk'), 5000);
    await expect(read(source, 4096, 4096)).rejects.toMatchObject({
      code: 'STORAGE_FAILED',
      message: /ends at 5000, expected 8192/,
    });
  });

  it('stops on request, and refuses what is no file', async () => {
    await using folder = await tempFolder();
    await expect(RawFileSource.open(folder.path)).rejects.toThrow(/not a regular file/);
    await expect(RawFileSource.open(folder.file('no'))).rejects.toMatchObject({ code: 'STORAGE_FAILED' });
    await writeFile(folder.file('disk'), 'x');
    await using source = await RawFileSource.open(folder.file('disk'));
    const read = source.readInto(0, Buffer.alloc(1), AbortSignal.abort());
    await expect(read).rejects.toMatchObject({ code: 'ABORTED' });
    await source.close();
  });
});

describe('clipExtents', () => {
  it('cuts at the end of the range and at the largest number', () => {
    const extents = [
      { length: 10, status: 1 },
      { length: 10, status: -1 },
      { length: 10, status: 0 },
    ];
    expect(clipExtents(extents, 15, 9)).toEqual([
      { length: 10, status: 1 },
      { length: 5, status: 0xffffffff },
    ]);
    expect(clipExtents(extents, 100, 1)).toEqual([{ length: 10, status: 1 }]);
  });

  it.each([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY])('refuses an extent of length %d', length => {
    expect(() => clipExtents([{ length, status: 0 }], 10, 9)).toThrow(/extent 0 has length/);
  });
});
