/** What a rescan finds, stored on the chain, reads as the disk does now; and it is no more than what differs. */
import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { parseCodec } from '#nbdelta/codec/codec-spec.js';
import { type FramePool, openFramePool } from '#nbdelta/codec/frame-pool.js';
import { DamagedError } from '#nbdelta/errors.js';
import { ExtentKind, ExtentList } from '#nbdelta/extents/extent-list.js';
import { type Rescan, rescanDisk } from '#nbdelta/operations/rescan-disk.js';
import { liveMap } from '../../support/bare-guest.js';
import { SeededRandom } from '../../support/random.js';
import { expectSameBytes } from '../../support/restore-check.js';
import { tarRegions } from '../../support/tar-regions.js';
import { MemoryChain, readerOf } from './memory-chain.js';

const UNIT = 65_536;
const MIB = 1 << 20;

let pool: FramePool;
let chain: MemoryChain;
beforeAll(() => {
  pool = openFramePool({ codec: parseCodec('zstd:1'), threads: 1 });
});
afterAll(() => pool[Symbol.asyncDispose]());
beforeEach(() => {
  chain = new MemoryChain();
});

/** A server that reports no zeroes at all. */
function allData(content: Buffer): ExtentList {
  const list = new ExtentList();
  list.append(0, content.length, ExtentKind.data);
  return list;
}

async function rescan(content: Buffer, live = allData(content)): Promise<Rescan> {
  return await rescanDisk({ reader: readerOf(content), live, chain: await chain.open(), pool });
}

async function take(content: Buffer, live = allData(content)): Promise<Rescan> {
  const found = await rescan(content, live);
  await chain.store(content, found.changes, pool);
  return found;
}

async function expectNewest(content: Buffer): Promise<void> {
  expectSameBytes(await chain.read(), content, 'the newest point');
}

function resized(content: Buffer, size: number): Buffer {
  const copy = Buffer.alloc(size);
  content.copy(copy);
  return copy;
}

const data = (offset: number, length: number) => ({ offset, length, kind: ExtentKind.data });
const zero = (offset: number, length: number) => ({ offset, length, kind: ExtentKind.zero });

describe('a disk that did not change', () => {
  it('is compared by digests alone: the archive is not even read', async () => {
    const content = randomBytes(4 * MIB + 12_345);
    content.fill(0, MIB + 5000, 3 * MIB - 777);
    await chain.store(content, allData(content), pool);
    const opened = await chain.open();
    const live = allData(content);
    const found = await rescanDisk({ reader: readerOf(content), live, chain: opened, pool });
    expect(found).toMatchObject({ readBytes: content.length, unreadable: { count: 0 } });
    expect([...found.changes]).toEqual([]);
    expect(chain.reads).toBe(0);
  });

  it('has no changes either where frames are scattered, overwritten in part, or became zeroes', async () => {
    const content = randomBytes(3 * MIB);
    await chain.store(content, allData(content), pool);
    for (const at of [5, 9, 13, 33]) randomBytes(UNIT).copy(content, at * UNIT);
    content.fill(0, 20 * UNIT, 21 * UNIT);
    await take(content);
    expect([...(await rescan(content)).changes]).toEqual([]);
    await expectNewest(content);
  });
});

describe('what changed', () => {
  let content: Buffer;
  beforeEach(async () => {
    content = randomBytes(3 * MIB + 100);
    content.fill(0, MIB, 2 * MIB);
    await chain.store(content, allData(content), pool);
  });

  it('is found in units: in data, in what was zero, and at the very end', async () => {
    content[3 * UNIT + 1]! ^= 1;
    content[5 * UNIT - 1]! ^= 1;
    content[MIB + UNIT] = 1;
    content[content.length - 1]! ^= 1;
    const { changes } = await take(content);
    expect([...changes]).toEqual([data(3 * UNIT, 2 * UNIT), data(MIB + UNIT, UNIT), data(3 * MIB, 100)]);
    await expectNewest(content);
  });

  it('to zeroes that the server reports is a zero, and nothing is read there', async () => {
    content.fill(0, 1000, 90_000);
    const live = new ExtentList();
    live.append(0, 1000, ExtentKind.data);
    live.append(1000, 89_000, ExtentKind.zero);
    live.append(90_000, content.length - 90_000, ExtentKind.data);
    const { changes, readBytes } = await take(content, live);
    expect([...changes]).toEqual([zero(1000, 89_000)]);
    expect(readBytes).toBe(content.length - 89_000);
    await expectNewest(content);
  });

  it('to zeroes that the server calls data is stored all the same', async () => {
    content.fill(0, 0, MIB);
    expect([...(await take(content)).changes]).toEqual([data(0, MIB)]);
    await expectNewest(content);
  });
});

describe('another size', () => {
  const zeroes = (content: Buffer) => liveMap(content, new SeededRandom(3));

  it('grown after it was cut off: what it held there before does not come back', async () => {
    const content = randomBytes(2 * MIB);
    await chain.store(content, allData(content), pool);
    const small = resized(content, MIB + 5);
    expect([...(await take(small)).changes]).toEqual([]);
    await expectNewest(small);
    for (const live of [allData, zeroes]) {
      const before = chain.volumes.length;
      const grown = resized(small, 2 * MIB + 77);
      await take(grown, live(grown));
      await expectNewest(grown);
      chain.volumes.length = before;
    }
  });

  it('grown by zeroes: they are stored as such', async () => {
    const content = randomBytes(UNIT);
    await chain.store(content, allData(content), pool);
    const grown = resized(content, 3 * UNIT);
    const live = new ExtentList();
    live.append(0, UNIT, ExtentKind.data);
    live.append(UNIT, 2 * UNIT, ExtentKind.zero);
    expect([...(await take(grown, live)).changes]).toEqual([zero(UNIT, 2 * UNIT)]);
    await expectNewest(grown);
  });
});

describe('trouble', () => {
  it('with an old frame: what the disk has there is stored again, and the new point needs it no more', async () => {
    const content = randomBytes(3 * MIB);
    await chain.store(content, allData(content), pool);
    const file = chain.volumes[0]!.files[0]!;
    const frames = tarRegions(file).find(({ name }) => name === 'frames')!;
    // In the second one: random bytes are stored as they are.
    file[frames.offset + 1.5 * MIB]! ^= 1;
    content[MIB + 1]! ^= 1;
    const { changes, unreadable } = await take(content);
    expect([...changes]).toEqual([data(MIB, MIB)]);
    expect(unreadable.count).toBe(1);
    expect(unreadable.first).toBeInstanceOf(DamagedError);
    expect(unreadable.first?.message).toContain('point-0');
    const healed = await chain.open();
    const used = new Set<string>();
    for (let index = 0; index < healed.segments.count; index++) {
      used.add(`${healed.segments.archiveAt(index)}/${healed.segments.frameAt(index)}`);
    }
    expect(used).not.toContain('0/1');
  });

  it('with a read: it rejects with that error, and no read is under way any more', async () => {
    const content = randomBytes(8 * MIB);
    await chain.store(content, allData(content), pool);
    let inFlight = 0;
    const reader = {
      readInto: async (offset: number, target: Uint8Array) => {
        inFlight++;
        await readerOf(content).readInto(offset, target);
        await new Promise(resolve => setTimeout(resolve, offset / MIB));
        inFlight--;
        if (offset === 3 * MIB) throw new Error('bad sector');
      },
    };
    const failed = rescanDisk({ reader, live: allData(content), chain: await chain.open(), pool });
    await expect(failed).rejects.toThrow('bad sector');
    expect(inFlight).toBe(0);
  });

  it('a stop on request ends it', async () => {
    const content = randomBytes(4 * MIB);
    await chain.store(content, allData(content), pool);
    const stop = new AbortController();
    const stopped = rescanDisk({
      ...{ reader: readerOf(content), live: allData(content), chain: await chain.open(), pool },
      signal: stop.signal,
      onProgress: () => stop.abort('enough'),
    });
    await expect(stopped).rejects.toMatchObject({ code: 'ABORTED' });
  });
});

describe('any history', () => {
  const share = fc.integer({ min: 0, max: 1000 }).map(value => value / 1000);
  const size = fc.oneof(
    fc.constantFrom(1, 65_535, 65_536, 65_537, MIB, MIB + 1),
    fc.integer({ min: 1, max: 1_300_000 }),
  );
  const write = fc.record({ at: share, share, byte: fc.constantFrom(0, 0, 1, 2) });
  const step = fc.record({
    ...{ size: fc.option(size, { freq: 3 }), writes: fc.array(write, { maxLength: 4 }) },
    ...{ seed: fc.nat(), frameSize: fc.constantFrom(1 << 16, 1 << 18, 1 << 20, 1 << 22) },
  });

  function work(
    content: Buffer,
    writes: readonly { at: number; share: number; byte: number }[],
    seed: number,
  ) {
    const random = new SeededRandom(seed);
    for (const { at, share: part, byte } of writes) {
      const offset = Math.min(content.length - 1, Math.floor(at * content.length));
      // Cubed: most changes are small, some are nearly the whole disk.
      const end = offset + Math.max(1, Math.floor(part ** 3 * (content.length - offset)));
      content.fill(byte === 0 ? 0 : random.bytes(4099), offset, end);
    }
  }

  /** Bytes of units that differ, the last one of the disk before among them when it ended within. */
  function mostData(before: Buffer, now: Buffer): number {
    let bytes = 0;
    for (let at = 0; at < now.length; at += UNIT) {
      const [old, unit] = [before.subarray(at, at + UNIT), now.subarray(at, at + UNIT)];
      if (Buffer.compare(old.subarray(0, unit.length), unit) !== 0) bytes += unit.length;
    }
    return bytes;
  }

  it('of writes, zeroes and sizes, seen by a server that says of allocation what it likes', async () => {
    await fc.assert(
      fc.asyncProperty(size, fc.array(step, { minLength: 2, maxLength: 7 }), async (first, steps) => {
        chain = new MemoryChain();
        let content: Buffer = Buffer.alloc(first, 7);
        await chain.store(content, allData(content), pool);
        for (const { size: next, writes, seed, frameSize } of steps) {
          const before = content;
          content = resized(content, next ?? content.length);
          work(content, writes, seed);
          const { changes } = await rescan(content, liveMap(content, new SeededRandom(seed)));
          const { dataBytes } = await chain.store(content, changes, pool, frameSize);
          expect(dataBytes).toBeLessThanOrEqual(mostData(before, content));
          await expectNewest(content);
        }
      }),
      { numRuns: 20 },
    );
  });
});
