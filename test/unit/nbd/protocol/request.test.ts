import { describe, expect, it } from 'vitest';
import { encodeRequest } from '#nbdelta/nbd/protocol/request.js';
import { decodeServerRequest } from '#nbdelta/nbd/protocol/request-decode.js';
import { readUInt64, writeUInt64 } from '#nbdelta/nbd/protocol/wire-fault.js';
import { wire } from '../../../support/wire-bytes.js';

/** Fields in order: magic, flags, type, cookie, offset, length ("Request message"). */
const COMPACT: readonly (readonly [string, Parameters<typeof encodeRequest>[0], Buffer])[] = [
  [
    'READ',
    { type: 0, flags: 0, cookie: 1, offset: 0, length: 0x100000 },
    wire('25609513 0000 0000 0000000000000001 0000000000000000 00100000'),
  ],
  [
    'READ with DF beyond 4 GiB',
    { type: 0, flags: 4, cookie: 0x1122334455, offset: 0x1_2345_6789, length: 512 },
    wire('25609513 0004 0000 0000001122334455 0000000123456789 00000200'),
  ],
  [
    'WRITE with FUA',
    { type: 1, flags: 1, cookie: 2, offset: 4096, length: 3 },
    wire('25609513 0001 0001 0000000000000002 0000000000001000 00000003'),
  ],
  [
    'DISC',
    { type: 2, flags: 0, cookie: 0, offset: 0, length: 0 },
    wire('25609513 0000 0002', '00'.repeat(20)),
  ],
  [
    'FLUSH',
    { type: 3, flags: 0, cookie: 9, offset: 0, length: 0 },
    wire('25609513 0000 0003 0000000000000009', '00'.repeat(12)),
  ],
  [
    'TRIM of the largest length',
    { type: 4, flags: 0, cookie: 3, offset: 1, length: 0xffffffff },
    wire('25609513 0000 0004 0000000000000003 0000000000000001 ffffffff'),
  ],
  [
    'CACHE',
    { type: 5, flags: 0, cookie: 4, offset: 2, length: 1 },
    wire('25609513 0000 0005 0000000000000004 0000000000000002 00000001'),
  ],
  [
    'WRITE_ZEROES with NO_HOLE and FUA',
    { type: 6, flags: 3, cookie: 5, offset: 0x10000, length: 0x10000 },
    wire('25609513 0003 0006 0000000000000005 0000000000010000 00010000'),
  ],
  [
    'BLOCK_STATUS with REQ_ONE at 2^53-1',
    { type: 7, flags: 8, cookie: Number.MAX_SAFE_INTEGER, offset: Number.MAX_SAFE_INTEGER, length: 1 },
    wire('25609513 0008 0007 001fffffffffffff 001fffffffffffff 00000001'),
  ],
];

describe('encodeRequest, compact', () => {
  it.each(COMPACT)('%s', (_name, request, expected) => {
    expect(encodeRequest(request, false)).toEqual(expected);
  });
});

describe('encodeRequest, extended', () => {
  it('has another magic and a 64-bit length', () => {
    const request = { type: 7, flags: 0, cookie: 6, offset: 0x10, length: 0x2_0000_0000 };
    expect(encodeRequest(request, true)).toEqual(
      wire('21e41c71 0000 0007 0000000000000006 0000000000000010 0000000200000000'),
    );
  });

  it('sets PAYLOAD_LEN on WRITE, and only there', () => {
    const request = { flags: 1, cookie: 6, offset: 0x10, length: 2 };
    const tail = '0000000000000006 0000000000000010 0000000000000002';
    expect(encodeRequest({ ...request, type: 1 }, true)).toEqual(wire('21e41c71 0021 0001', tail));
    expect(encodeRequest({ ...request, type: 6 }, true)).toEqual(wire('21e41c71 0001 0006', tail));
    expect(encodeRequest({ ...request, type: 0 }, true)).toEqual(wire('21e41c71 0001 0000', tail));
  });
});

describe('decodeServerRequest', () => {
  it.each(COMPACT)('%s', (_name, { type, flags, offset, length }, bytes) => {
    expect(decodeServerRequest(bytes, false)).toMatchObject({ type, flags, offset, length });
  });

  it('refuses a wrong magic', () => {
    expect(() => decodeServerRequest(COMPACT[0]![2], true)).toThrow(
      expect.objectContaining({ code: 'NBD_PROTOCOL', message: expect.stringContaining('0x25609513') }),
    );
  });
});

describe('64-bit numbers', () => {
  it.each([0, 1, 0xffffffff, 0x100000000, Number.MAX_SAFE_INTEGER])('%d there and back', value => {
    const buffer = Buffer.alloc(8);
    writeUInt64(buffer, value, 0);
    expect(buffer.readBigUInt64BE()).toBe(BigInt(value));
    expect(readUInt64(buffer, 0, 'it')).toBe(value);
  });

  it.each(['0020000000000000', 'ffffffffffffffff', '8000000000000000'])('refuses %s', hex => {
    expect(() => readUInt64(wire(hex), 0, 'export size')).toThrow(/^export size is \d+, larger than/);
  });
});
