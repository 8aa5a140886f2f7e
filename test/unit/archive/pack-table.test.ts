import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ExtentTable } from '#nbdelta/archive/v1/extent-table.js';
import { FrameTable } from '#nbdelta/archive/v1/frame-table.js';
import { decodePackTable, encodePackTable, packTableLength } from '#nbdelta/archive/v1/pack-table.js';
import { NbdeltaError } from '#nbdelta/errors.js';
import { ARCHIVE_ID, rowsOf } from './tiny-archive.js';

function sample(): Buffer {
  const frames = new FrameTable();
  for (let frame = 0; frame < 3; frame++) {
    frames.append({
      digest: new Uint8Array(32).fill(frame + 1),
      storedDigest: new Uint8Array(16).fill(0x80 + frame),
      storedLength: 100 + frame,
      rawLength: 4096,
      keyId: 0,
      origin: frame,
      originFrame: 0xfffffff0 + frame,
    });
    frames.place(frame, 2, 2 ** 36 + frame);
  }
  const extents = new ExtentTable();
  extents.append(0, 4096, 1, 0);
  extents.appendZero(4096, 1 << 30);
  extents.append(2 ** 40, 4096, 2, 0);
  const rows = {
    archiveId: ARCHIVE_ID,
    pack: 7,
    firstFrame: 1,
    frameCount: 2,
    firstExtent: 1,
    extentCount: 2,
  };
  return encodePackTable(rows, frames, extents);
}

describe('pack table', () => {
  test('its first bytes are what the format document says', () => {
    const table = sample();
    expect(table.length).toBe(packTableLength(2, 2));
    expect(table.subarray(0, 52).toString('hex')).toBe(
      `5e2a4d180c010000${Buffer.from('NBDXPACK').toString('hex')}01000000${ARCHIVE_ID}07000000010000000200000002000000`,
    );
  });

  test('a frame row is 80 bytes as the format document says', () => {
    const row = sample().subarray(52, 132).toString('hex');
    expect(row).toBe(
      [
        '02'.repeat(32),
        '81'.repeat(16),
        '0100000010000000', // offset 2^36 + 1
        '65000000', // 101 stored
        '00100000', // 4096 raw
        '0200', // volume
        '0000', // key
        '0100', // origin
        '0000',
        'f1ffffff', // origin frame
        '00000000',
      ].join(''),
    );
  });

  test('comes back', () => {
    const { frames, extents, ...rest } = decodePackTable(sample());
    expect(rest).toEqual({ archiveId: ARCHIVE_ID, pack: 7, firstFrame: 1 });
    expect(frames.count).toBe(2);
    expect([frames.offsetAt(1), frames.storedLengthAt(1), frames.originFrameAt(1)]).toEqual([
      2 ** 36 + 2,
      102,
      0xfffffff2,
    ]);
    expect(rowsOf(extents)).toEqual([
      { offset: 4096, length: 1 << 30, zero: true },
      { offset: 2 ** 40, length: 4096, frame: 2, within: 0 },
    ]);
  });

  test('any other byte and any other length is refused', () => {
    const table = sample();
    for (let at = 0; at < table.length; at++) {
      const damaged = Buffer.from(table);
      damaged[at]! ^= 0x04;
      expect(() => decodePackTable(damaged), `byte ${at}`).toThrow(NbdeltaError);
      expect(() => decodePackTable(table.subarray(0, at)), `cut at ${at}`).toThrow(NbdeltaError);
    }
    expect(() => decodePackTable(Buffer.concat([table, Buffer.alloc(1)]))).toThrow(NbdeltaError);
  });

  test('hostile bytes are refused', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), bytes => {
        expect(() => decodePackTable(bytes)).toThrow(NbdeltaError);
      }),
    );
  });
});
