import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ExtentTable } from '#nbdelta/archive/v1/extent-table.js';
import { FrameTable } from '#nbdelta/archive/v1/frame-table.js';
import { type IndexContent, indexSegments } from '#nbdelta/archive/v1/index-codec.js';
import { IndexDecoder } from '#nbdelta/archive/v1/index-decoder.js';
import { NbdeltaError } from '#nbdelta/errors.js';
import { ARCHIVE_ID, rowsOf } from './tiny-archive.js';

const OTHER = 'ffffffffffffffffffffffffffffffff';
const VOLUME_BYTES = 100_000;

interface Frame {
  readonly raw: number;
  readonly stored: number;
  readonly volume: number;
  readonly offset: number;
  readonly origin: number;
  readonly keyId: number;
}
const sane: Frame = { raw: 4096, stored: 100, volume: 1, offset: 2048, origin: 0, keyId: 0 };

function index(frameChange: Partial<Frame>, fill: (extents: ExtentTable) => void, size = 1 << 20): Buffer {
  const frames = new FrameTable();
  for (const frame of [sane, { ...sane, offset: 4096, ...frameChange }]) {
    const { raw, stored, origin, keyId } = frame;
    const digests = { digest: new Uint8Array(32), storedDigest: new Uint8Array(16) };
    frames.append({ ...digests, rawLength: raw, storedLength: stored, origin, originFrame: 0, keyId });
    frames.place(frames.count - 1, frame.volume, frame.offset);
  }
  const extents = new ExtentTable();
  fill(extents);
  const content: IndexContent = {
    archiveId: ARCHIVE_ID,
    size,
    origins: [ARCHIVE_ID, OTHER],
    frames,
    extents,
  };
  return Buffer.concat(Array.from(indexSegments(content), segment => Uint8Array.from(segment)));
}

function decode(bytes: Uint8Array, step = bytes.length || 1): IndexContent {
  const decoder = new IndexDecoder({
    archiveId: ARCHIVE_ID,
    rawLength: bytes.length,
    volumeBytes: [VOLUME_BYTES],
  });
  for (let at = 0; at < bytes.length; at += step) {
    const piece = bytes.subarray(at, at + step);
    decoder.target.set(piece);
    decoder.accept(piece.length);
  }
  return decoder.finish();
}

const none = () => undefined;
const three = (extents: ExtentTable) => {
  extents.append(0, 4096, 0, 0);
  extents.appendZero(4096, 4096);
  extents.append(10_000, 100, 1, 3996);
};

describe('index', () => {
  test('comes back, in pieces of every length', () => {
    const bytes = index({ origin: 1 }, three);
    for (let step = 1; step <= bytes.length; step++) {
      const content = decode(bytes, step);
      expect(content.origins).toEqual([ARCHIVE_ID, OTHER]);
      expect(content.size).toBe(1 << 20);
      expect(content.frames.count).toBe(2);
      expect(rowsOf(content.extents)).toHaveLength(3);
    }
  });

  test('ends too early or goes on: refused', () => {
    const bytes = index({}, three);
    for (let cut = 0; cut < bytes.length; cut++)
      expect(() => decode(bytes.subarray(0, cut))).toThrow(NbdeltaError);
    expect(() => decode(Buffer.concat([bytes, Buffer.alloc(1)]))).toThrow(NbdeltaError);
  });

  test.each<[string, Partial<Frame>]>([
    ['raw length 0', { raw: 0 }],
    ['raw length above 4 MiB', { raw: 2 ** 22 + 1 }],
    ['stored length 0', { stored: 0 }],
    ['stored length of 4 GiB', { stored: 0xffffffff }],
    ['volume 0', { volume: 0 }],
    ['a volume that there is not', { volume: 2 }],
    ['an offset inside the header', { offset: 511 }],
    ['an end inside the trailer', { offset: VOLUME_BYTES - 2048 - 99 }],
    ['an offset above 2^53', { offset: 2 ** 63 }],
    ['the stored bytes of the frame before it', { offset: 2048 }],
    ['the last stored byte of the frame before it', { offset: 2147 }],
    ['an origin that there is not', { origin: 2 }],
    ['a key', { keyId: 1 }],
  ])('a frame with %s is refused', (_, change) => {
    expect(() => decode(index(change, none))).toThrow(expect.objectContaining({ code: 'DATA_DAMAGED' }));
  });

  test.each<[string, (extents: ExtentTable) => void]>([
    ['overlap', e => addZeroes(e, [0, 99])],
    ['go down', e => addZeroes(e, [1000, 0])],
    ['leave the disk', e => e.appendZero((1 << 20) - 10, 11)],
    ['lie in a frame that there is not', e => e.append(0, 10, 2, 0)],
    ['leave their frame', e => e.append(0, 4096, 1, 1)],
  ])('extents that %s are refused', (_, fill) => {
    expect(() => decode(index({}, fill))).toThrow(expect.objectContaining({ code: 'DATA_DAMAGED' }));
  });

  test('frames may touch', () => {
    expect(decode(index({ offset: 2148 }, none)).frames.count).toBe(2);
  });

  test('a bomb of identical frame rows is refused at its second row', () => {
    const rows = 100_000;
    const one = index({ offset: 2048 }, none);
    const row = one.subarray(one.length - 80);
    const bomb = Buffer.concat([one.subarray(0, 64 + 32), ...Array<Buffer>(rows).fill(row)]);
    bomb.writeUInt32LE(rows, 36);
    expect(() => decode(bomb, 1 << 20)).toThrow(/frame 1 has offset in the volume 2048, expected 2148/);
  });

  test('more or fewer rows than the manifest says are refused before the first', () => {
    const bytes = index({}, three);
    const archive = { archiveId: ARCHIVE_ID, rawLength: bytes.length, volumeBytes: [VOLUME_BYTES] };
    for (const counts of [{ frames: 1 }, { frames: 3 }, { extents: 2 }, { extents: 4 }]) {
      const decoder = new IndexDecoder({ ...archive, ...counts });
      decoder.target.set(bytes.subarray(0, 64));
      expect(() => decoder.accept(64)).toThrow(/the index has [23] (frames|extents), expected/);
    }
  });

  test('another archive is foreign, a newer version unsupported', () => {
    const foreign = index({}, none);
    foreign[12]! ^= 1;
    expect(() => decode(foreign)).toThrow(expect.objectContaining({ code: 'CHAIN_FOREIGN' }));
    const newer = index({}, none);
    newer[8] = 2;
    expect(() => decode(newer)).toThrow(expect.objectContaining({ code: 'FORMAT_UNSUPPORTED' }));
  });

  test('hostile bytes are refused with our own errors', () => {
    const bytes = index({}, three);
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        changes => {
          const hostile = Buffer.from(bytes);
          for (const [at, value] of changes) hostile[at] = value;
          try {
            decode(hostile);
          } catch (error) {
            expect(error).toBeInstanceOf(NbdeltaError);
          }
        },
      ),
    );
  });
});

function addZeroes(extents: ExtentTable, offsets: readonly number[]): void {
  for (const offset of offsets) extents.appendZero(offset, 100);
}
