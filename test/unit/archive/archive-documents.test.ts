import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type ArchiveHeader,
  decodeArchiveHeader,
  encodeArchiveHeader,
} from '#nbdelta/archive/v1/archive-header.js';
import { decodeArchiveTrailer, encodeArchiveTrailer } from '#nbdelta/archive/v1/archive-trailer.js';
import { decodeTarHeader, encodeTarHeader, tarMemberLength } from '#nbdelta/archive/v1/tar-member.js';
import { NbdeltaError } from '#nbdelta/errors.js';
import { ARCHIVE_ID } from './tiny-archive.js';

const header: ArchiveHeader = {
  format: 'nbdelta-archive',
  version: 1,
  archiveId: ARCHIVE_ID,
  volume: 1,
  parentArchiveId: null,
  disk: 'vda',
  size: 2 ** 52,
  frameSize: 1 << 20,
  codec: 'none',
  features: [],
};

function changed(change: Record<string, unknown>): Buffer {
  return Buffer.from(JSON.stringify({ ...header, ...change }));
}

describe('header.json', () => {
  test('comes back; unknown fields do no harm', () => {
    expect(decodeArchiveHeader(encodeArchiveHeader(header))).toEqual(header);
    expect(decodeArchiveHeader(changed({ comment: 'later' }))).toEqual(header);
  });

  test.each([
    ['newer version', { version: 2 }],
    ['unknown feature', { features: ['encryption'] }],
    ['other format', { format: 'tar' }],
    ['newer version of another shape', { version: 2, archiveId: 5 }],
  ])('%s is unsupported', (_, change) => {
    expect(() => decodeArchiveHeader(changed(change))).toThrow(
      expect.objectContaining({ code: 'FORMAT_UNSUPPORTED' }),
    );
  });

  test.each([
    ['id', { archiveId: 'XYZ' }],
    ['volume', { volume: 0 }],
    ['size', { size: -1 }],
    ['frame size', { frameSize: 2 ** 22 + 1 }],
    ['disk', { disk: '' }],
    ['features', { features: null }],
  ])('a wrong %s is refused', (_, change) => {
    expect(() => decodeArchiveHeader(changed(change))).toThrow(
      expect.objectContaining({ code: 'CHAIN_TORN' }),
    );
  });

  test('hostile bytes are refused', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array(),
          fc.json().map(text => Buffer.from(text)),
        ),
        bytes => {
          expect(() => decodeArchiveHeader(Buffer.from(bytes))).toThrow(NbdeltaError);
        },
      ),
    );
  });
});

describe('trailer.json', () => {
  const index = {
    offset: 2 ** 53 - 1,
    storedLength: 2 ** 53 - 1,
    rawLength: 2 ** 53 - 1,
    sha256: 'a'.repeat(64),
  };

  test('is 512 bytes also with the largest numbers, and comes back', () => {
    const trailer = { archiveId: ARCHIVE_ID, volume: 65_535, last: true, index };
    const bytes = encodeArchiveTrailer(trailer);
    expect(bytes).toHaveLength(512);
    expect(bytes.at(-1)).toBe(0x0a);
    expect(decodeArchiveTrailer(bytes)).toEqual(trailer);
  });

  test('has an index exactly when it is the last', () => {
    const pad = (value: unknown) => Buffer.from(`${JSON.stringify(value).padEnd(511)}\n`);
    const base = { archiveId: ARCHIVE_ID, volume: 1 };
    expect(decodeArchiveTrailer(pad({ ...base, last: false }))).not.toBeNull();
    expect(decodeArchiveTrailer(pad({ ...base, last: true }))).toBeNull();
    expect(decodeArchiveTrailer(pad({ ...base, last: false, index }))).toBeNull();
    expect(decodeArchiveTrailer(pad({ ...base, last: true, index: { ...index, offset: -1 } }))).toBeNull();
  });

  test('hostile bytes are no trailer', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 512, maxLength: 512 }), bytes => {
        expect(decodeArchiveTrailer(Buffer.from(bytes))).toBeNull();
      }),
    );
  });
});

describe('tar header', () => {
  test('comes back, and is refused with any byte of name, size or checksum changed', async () => {
    const block = Buffer.from(await encodeTarHeader('data/00000001.zst', 2 ** 33 - 1));
    expect(decodeTarHeader(block)).toEqual({ name: 'data/00000001.zst', size: 2 ** 33 - 1 });
    for (let at = 0; at < 154; at++) {
      const damaged = Buffer.from(block);
      damaged[at]! ^= 0x01;
      expect(decodeTarHeader(damaged), `byte ${at}`).toBeNull();
    }
  });

  test('a member that ustar cannot say is refused; lengths are whole blocks', async () => {
    expect(() => encodeTarHeader('x', 2 ** 33)).toThrow(NbdeltaError);
    expect([0, 1, 512, 513].map(tarMemberLength)).toEqual([512, 1024, 1024, 1536]);
  });

  test('hostile blocks are none', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 512, maxLength: 512 }), bytes => {
        expect(decodeTarHeader(Buffer.from(bytes))).toBeNull();
      }),
    );
    expect(decodeTarHeader(Buffer.alloc(512))).toBeNull();
  });
});
