import { afterEach, expect, test } from 'vitest';
import { openArchiveWriter } from '#nbdelta/archive/v1/archive-writer.js';
import { parseCodec } from '#nbdelta/codec/codec-spec.js';
import { type FramePool, openFramePool } from '#nbdelta/codec/frame-pool.js';
import { ExtentKind, ExtentList } from '#nbdelta/extents/extent-list.js';
import { ReadPace } from '#nbdelta/operations/read-pace.js';
import { storeDisk } from '#nbdelta/operations/store-disk.js';
import { MemoryVolumes } from '../archive/memory-volumes.js';
import { ARCHIVE_ID, applyArchive, openMemory } from '../archive/tiny-archive.js';

const FRAME = 1 << 20;
const codec = parseCodec('zstd:1');
const pools: FramePool[] = [];
afterEach(async () => {
  for (const pool of pools.splice(0)) await pool[Symbol.asyncDispose]();
});

/** A disk in memory that answers reads late, and remembers them. */
class SlowDisk {
  readonly bytes: Buffer;
  readonly reads: [offset: number, length: number][] = [];
  inFlight = 0;
  most = 0;
  failAt: number | undefined;

  constructor(size: number) {
    this.bytes = Buffer.alloc(size);
    for (let at = 0; at < size; at++) this.bytes[at] = 1 + ((at * 2654435761) >>> 24);
  }

  async readInto(offset: number, target: Uint8Array): Promise<void> {
    this.reads.push([offset, target.length]);
    this.most = Math.max(this.most, ++this.inFlight);
    await new Promise(resolve => setTimeout(resolve, 2));
    this.inFlight--;
    if (offset === this.failAt) throw new Error('bad sector');
    this.bytes.copy(target, 0, offset, offset + target.length);
  }
}

async function store(disk: SlowDisk, changes: ExtentList, pace?: ReadPace) {
  const volumes = new MemoryVolumes();
  const pool = openFramePool({ codec, threads: 2 });
  pools.push(pool);
  const writer = await openArchiveWriter({
    archiveId: ARCHIVE_ID,
    parentArchiveId: null,
    disk: 'vda',
    size: disk.bytes.length,
    frameSize: FRAME,
    codec,
    openVolume: volumes.openVolume,
  });
  try {
    await storeDisk({ reader: disk, changes, writer, pool, frameSize: FRAME, ...(pace && { pace }) });
    await writer.finish();
  } catch (error) {
    await writer.abort();
    throw error;
  }
  await using reader = await openMemory(volumes);
  const restored = Buffer.alloc(disk.bytes.length);
  await applyArchive(reader, restored);
  return restored;
}

function pieces(count: number): ExtentList {
  const changes = new ExtentList();
  for (let row = 0; row < count; row++) changes.append(row * 64, 16, ExtentKind.data);
  return changes;
}

test('a map of thousands of tiny extents: never more than 256 reads at once, and the right bytes', async () => {
  const disk = new SlowDisk(20_000 * 64);
  const restored = await store(disk, pieces(20_000));
  expect(disk.reads).toHaveLength(20_000);
  expect(disk.most).toBe(256);
  const wrong = restored.findIndex((byte, at) => byte !== (at % 64 < 16 ? disk.bytes[at] : 0));
  expect(wrong).toBe(-1);
});

test('pieces that touch on the disk are read at once', async () => {
  const disk = new SlowDisk(4 * FRAME);
  const changes = new ExtentList();
  changes.append(0, 100, ExtentKind.data);
  changes.append(FRAME - 1000, 2000, ExtentKind.data);
  const restored = await store(disk, changes);
  expect(disk.reads).toEqual([
    [0, 100],
    [FRAME - 1000, 2000],
  ]);
  expect(restored.subarray(FRAME - 1000, FRAME + 1000)).toEqual(
    disk.bytes.subarray(FRAME - 1000, FRAME + 1000),
  );
});

test('a read that fails among many ends them all: nothing is under way when it rejects', async () => {
  const disk = new SlowDisk(20_000 * 64);
  disk.failAt = 5000 * 64;
  await expect(store(disk, pieces(20_000))).rejects.toThrow('bad sector');
  expect(disk.inFlight).toBe(0);
  expect(disk.reads.length).toBeLessThan(10_000);
});

test('a slow pace gives the right bytes, and nobody waits for it once a read has failed', async () => {
  const disk = new SlowDisk(4 * FRAME);
  const changes = new ExtentList();
  changes.append(0, disk.bytes.length, ExtentKind.data);
  using quick = new ReadPace(100 * FRAME);
  expect((await store(disk, changes, quick)).equals(disk.bytes)).toBe(true);
  disk.failAt = 0;
  // At this rate the second read would begin after hours.
  using slow = new ReadPace(64);
  await expect(store(disk, changes, slow)).rejects.toThrow('bad sector');
});
