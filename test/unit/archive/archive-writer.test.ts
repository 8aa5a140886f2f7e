import { describe, expect, test } from 'vitest';
import {
  type ArchiveWriterOptions,
  type NewFrame,
  openArchiveWriter,
} from '#nbdelta/archive/v1/archive-writer.js';
import type { VolumeSink } from '#nbdelta/archive/v1/volume-writer.js';
import { parseCodec } from '#nbdelta/codec/codec-spec.js';
import { AbortedError, StorageError, UsageError } from '#nbdelta/errors.js';
import { MemoryVolumes } from './memory-volumes.js';
import { ARCHIVE_ID, openMemory, rowsOf, sealPieces, writeArchive } from './tiny-archive.js';

const disk = Buffer.alloc(1 << 20, 'nbdelta ');

function open(volumes: Pick<MemoryVolumes, 'openVolume'>, options: Partial<ArchiveWriterOptions> = {}) {
  return openArchiveWriter({
    archiveId: ARCHIVE_ID,
    parentArchiveId: null,
    disk: 'vda',
    size: disk.length,
    frameSize: 1 << 20,
    codec: parseCodec('zstd:1'),
    openVolume: volumes.openVolume,
    ...options,
  });
}

/** A frame of one extent that counts its releases. */
function frameAt(offset: number, length = 4096): NewFrame & { released: number } {
  const frame = {
    ...sealPieces(disk, [{ offset, length }]),
    released: 0,
    release: () => {
      frame.released++;
    },
  };
  return frame;
}

describe('archive writer', () => {
  test('an empty archive is an archive', async () => {
    const { volumes, summary } = await writeArchive(disk, []);
    expect(summary).toMatchObject({ frames: 0, extents: 0, dataBytes: 0, zeroBytes: 0 });
    await using reader = await openMemory(volumes);
    expect(reader.extents.count).toBe(0);
  });

  test('more zero extents than a pack has make packs without frames', async () => {
    const volumes = new MemoryVolumes();
    const writer = await open(volumes, { size: 1 << 30 });
    for (let at = 0; at < 70_000; at++) await writer.addZero(at * 10, 5);
    const summary = await writer.finish();
    expect(summary).toMatchObject({ extents: 70_000, zeroBytes: 350_000, frames: 0 });
    expect(volumes.files[0]!.includes('data/00000002.zst')).toBe(true);
    await using reader = await openMemory(volumes);
    expect(rowsOf(reader.extents).at(-1)).toEqual({ offset: 699_990, length: 5, zero: true });
  });

  test('a refused frame is released, changes nothing, and says why', async () => {
    const volumes = new MemoryVolumes();
    const writer = await open(volumes);
    await writer.addZero(0, 4096);
    const bad: [string, Partial<NewFrame>][] = [
      ['out of order', { entries: [{ offset: 100, length: 4096, zero: false }] }],
      ['outside of the disk', { entries: [{ offset: disk.length - 1, length: 4096, zero: false }] }],
      ['extents are not the raw length', { entries: [{ offset: 8192, length: 4095, zero: false }] }],
      ['no stored bytes', { stored: new Uint8Array(0) }],
      ['too long', { rawLength: (1 << 20) + 1 }],
      ['short digest', { digest: new Uint8Array(31) }],
    ];
    for (const [why, change] of bad) {
      let released = 0;
      const release = () => {
        released++;
      };
      await expect(writer.addFrame({ ...frameAt(8192), ...change, release }), why).rejects.toThrow(
        UsageError,
      );
      expect(released, why).toBe(1);
    }
    await expect(writer.addZero(4095, 10)).rejects.toThrow(UsageError);
    await writer.addFrame(frameAt(8192));
    expect(await writer.finish()).toMatchObject({ frames: 1, extents: 2 });
    await expect(writer.addZero(100_000, 1)).rejects.toThrow(UsageError);
  });

  test.each<[string, Partial<ArchiveWriterOptions>]>([
    ['id', { archiveId: 'ABC' }],
    ['parent', { parentArchiveId: 'x' }],
    ['disk', { disk: '' }],
    ['size', { size: 2 ** 52 + 2 }],
    ['frame size', { frameSize: 2 ** 22 + 1 }],
  ])('a wrong %s is refused before anything is opened', async (_, options) => {
    const openVolume = () => Promise.reject(new Error('opened'));
    await expect(open({ openVolume }, options)).rejects.toThrow(UsageError);
  });

  test('one pack is written while the next fills, then the caller waits', async () => {
    const { sink, letGo } = slowSink();
    const writer = await open({ openVolume: async () => sink });
    const frames = Array.from({ length: 48 }, (_, at) => frameAt(at * 4096));
    for (const frame of frames.slice(0, 31)) await writer.addFrame(frame);
    expect(frames.filter(frame => frame.released > 0)).toHaveLength(0);
    let waiting = true;
    const full = writer.addFrame(frames[31]!).then(() => {
      waiting = false;
    });
    await new Promise(resolve => setTimeout(resolve, 20));
    expect(waiting).toBe(true);
    letGo();
    await full;
    expect(frames.filter(frame => frame.released === 1).length).toBeGreaterThanOrEqual(16);
    for (const frame of frames.slice(32)) await writer.addFrame(frame);
    await writer.finish();
    expect(frames.every(frame => frame.released === 1)).toBe(true);
  });

  test('a failed write reaches the caller, every frame is released once, the volume is aborted', async () => {
    const { volumes, sink } = failingSink(3);
    const writer = await open({ openVolume: async () => sink });
    const frames = Array.from({ length: 100 }, (_, at) => frameAt(at * 4096));
    const outcome = (async () => {
      for (const frame of frames) await writer.addFrame(frame);
      await writer.finish();
    })();
    await expect(outcome).rejects.toThrow(StorageError);
    await expect(writer.addZero(1 << 19, 5)).rejects.toThrow(StorageError);
    await writer.abort();
    await writer.abort();
    expect(volumes.aborted).toEqual([1]);
    const given = frames.filter(frame => frame.released > 0);
    expect(given.every(frame => frame.released === 1)).toBe(true);
    expect(given.length).toBeGreaterThan(30);
  });

  test('abort gives up the closed volumes too, and after finish none', async () => {
    const volumes = new MemoryVolumes();
    const writer = await open(volumes, { maxVolumeBytes: 4096 });
    for (let at = 0; at < 64; at++) await writer.addFrame(frameAt(at * 4096));
    await writer.abort();
    expect(volumes.closed.length).toBeGreaterThan(1);
    expect(volumes.aborted).toEqual([...volumes.closed, volumes.closed.length + 1]);
    const whole = new MemoryVolumes();
    const finished = await open(whole, { maxVolumeBytes: 4096 });
    for (let at = 0; at < 64; at++) await finished.addFrame(frameAt(at * 4096));
    await finished.finish();
    await finished.abort();
    expect(whole.aborted).toEqual([]);
  });

  test('abort releases what is held and nothing can be added', async () => {
    const volumes = new MemoryVolumes();
    const frame = frameAt(0);
    {
      await using writer = await open(volumes);
      await writer.addFrame(frame);
      await writer.abort();
      await expect(writer.addZero(8192, 1)).rejects.toThrow(AbortedError);
    }
    expect(frame.released).toBe(1);
    expect(volumes.aborted).toEqual([1]);
    expect(volumes.files).toHaveLength(0);
  });

  test('a buffer that is gone when its pack is written is an error, not an empty frame', async () => {
    const writer = await open(new MemoryVolumes());
    const frame = frameAt(0);
    await writer.addFrame(frame);
    structuredClone(frame.stored.buffer, { transfer: [frame.stored.buffer as ArrayBuffer] });
    await expect(writer.finish()).rejects.toMatchObject({ code: 'INTERNAL' });
    expect(frame.released).toBe(1);
    await writer.abort();
  });

  test('frames of other archives are taken over with their origin, and used in any order', async () => {
    const volumes = new MemoryVolumes();
    const writer = await open(volumes);
    const origin = { archiveId: 'f'.repeat(32), frame: 77 };
    const first = await writer.copyFrame({ ...frameAt(0), origin });
    const second = await writer.copyFrame({ ...frameAt(8192), origin: { archiveId: ARCHIVE_ID, frame: 1 } });
    await writer.addExtent(0, 1024, first, 0);
    await writer.addExtent(1024, 1024, second, 512);
    await writer.addExtent(2048, 1024, first, 2048);
    await expect(writer.addExtent(4096, 4096, first, 1)).rejects.toThrow(UsageError);
    await expect(writer.addExtent(4096, 1, 2, 0)).rejects.toThrow(UsageError);
    await writer.finish();
    await using reader = await openMemory(volumes);
    expect(reader.origins).toEqual([ARCHIVE_ID, origin.archiveId]);
    expect([reader.frames.originAt(0), reader.frames.originFrameAt(0), reader.frames.originAt(1)]).toEqual([
      1, 77, 0,
    ]);
    expect(rowsOf(reader.extents)).toEqual([
      { offset: 0, length: 1024, frame: 0, within: 0 },
      { offset: 1024, length: 1024, frame: 1, within: 512 },
      { offset: 2048, length: 1024, frame: 0, within: 2048 },
    ]);
  });
});

/** Takes the header at once, everything later only after `letGo`. */
function slowSink(): { sink: VolumeSink; letGo: () => void } {
  let letGo: () => void = () => undefined;
  const gate = new Promise<void>(resolve => {
    letGo = resolve;
  });
  let appends = 0;
  const append = () => (++appends === 1 ? Promise.resolve() : gate);
  return {
    sink: { append, close: async () => undefined, abort: async () => undefined },
    letGo: () => letGo(),
  };
}

function failingSink(failAt: number): { volumes: { aborted: number[] }; sink: VolumeSink } {
  const volumes = { aborted: [] as number[] };
  let appends = 0;
  const sink = {
    append: async () => {
      if (++appends >= failAt) throw new StorageError('disk full');
    },
    close: async () => undefined,
    abort: async () => {
      volumes.aborted.push(1);
    },
  };
  return { volumes, sink };
}
