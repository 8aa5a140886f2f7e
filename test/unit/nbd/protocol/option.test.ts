import { describe, expect, it } from 'vitest';
import {
  decodeBlockSize,
  decodeExportInfo,
  decodeMetaContext,
  decodeOptionReplyHeader,
  decodeServer,
  encodeGoData,
  encodeMetaContextData,
  encodeOption,
} from '#nbdelta/nbd/protocol/option.js';
import { ascii, wire } from '../../../support/wire-bytes.js';

const PROTOCOL = (message: RegExp) =>
  expect.objectContaining({ code: 'NBD_PROTOCOL', message: expect.stringMatching(message) });

describe('options', () => {
  it('without data', () => {
    expect(encodeOption(8)).toEqual(wire('49484156454f5054 00000008 00000000'));
  });

  it('NBD_OPT_GO with information requests', () => {
    const data = encodeGoData('vdä', [1, 2, 3]);
    expect(data).toEqual(wire('00000004 7664c3a4 0003 0001 0002 0003'));
    expect(encodeOption(7, data)).toEqual(
      wire('49484156454f5054 00000007 00000010', '00000004 7664c3a4 0003 0001 0002 0003'),
    );
  });

  it('NBD_OPT_GO for the default export', () => {
    expect(encodeGoData('', [])).toEqual(wire('00000000 0000'));
  });

  it('NBD_OPT_SET_META_CONTEXT', () => {
    expect(encodeMetaContextData('vda', ['base:allocation', 'qemu:dirty-bitmap:b'])).toEqual(
      wire(
        ...['00000003', ascii('vda'), '00000002'],
        ...['0000000f', ascii('base:allocation'), '00000013', ascii('qemu:dirty-bitmap:b')],
      ),
    );
    expect(encodeMetaContextData('', [])).toEqual(wire('00000000 00000000'));
  });
});

describe('option replies', () => {
  it('decodes a header', () => {
    expect(decodeOptionReplyHeader(wire('0003e889045565a9 00000007 80000006 00000010'))).toEqual({
      option: 7,
      type: 0x80000006,
      length: 16,
    });
  });

  it('refuses a wrong magic', () => {
    expect(() => decodeOptionReplyHeader(wire('0003e889045565aa 00000007 00000001 00000000'))).toThrow(
      PROTOCOL(/option reply magic is 0x3e889045565aa, expected 0x3e889045565a9/),
    );
  });

  it('refuses more than 64 KiB before taking memory', () => {
    const header = (length: string) => wire('0003e889045565a9 00000007 00000003', length);
    expect(decodeOptionReplyHeader(header('00010000')).length).toBe(65536);
    expect(() => decodeOptionReplyHeader(header('00010001'))).toThrow(PROTOCOL(/65537 bytes/));
    expect(() => decodeOptionReplyHeader(header('ffffffff'))).toThrow(PROTOCOL(/4294967295 bytes/));
  });

  it('meta context', () => {
    expect(decodeMetaContext(wire('00000007', ascii('base:allocation')))).toEqual({
      id: 7,
      name: 'base:allocation',
    });
    expect(() => decodeMetaContext(wire('00000007'))).toThrow(PROTOCOL(/4 bytes/));
    expect(() => decodeMetaContext(wire('00000007', '61'.repeat(4097)))).toThrow(PROTOCOL(/4097/));
  });

  it('listed export, with and without description', () => {
    expect(decodeServer(wire('00000003', ascii('vda')))).toEqual({ name: 'vda', description: '' });
    expect(decodeServer(wire('00000003', ascii('vdaroot')))).toEqual({ name: 'vda', description: 'root' });
    expect(decodeServer(wire('00000000'))).toEqual({ name: '', description: '' });
    for (const bad of ['', '000000', '00000001', 'ffffffff 61']) {
      expect(() => decodeServer(wire(bad))).toThrow(PROTOCOL(/export name/));
    }
  });

  it('export information', () => {
    expect(decodeExportInfo(wire('0000000123456789 058f'))).toEqual({ size: 0x123456789, flags: 0x58f });
    expect(() => decodeExportInfo(wire('00000001234567'))).toThrow(PROTOCOL(/7 bytes, 10 expected/));
    expect(() => decodeExportInfo(wire('0020000000000000 0001'))).toThrow(PROTOCOL(/9007199254740992/));
  });
});

describe('block sizes', () => {
  it.each([
    ['00000001 00001000 02000000', { minimum: 1, preferred: 4096, maximum: 0x2000000 }],
    ['00001000 00010000 00010000', { minimum: 4096, preferred: 65536, maximum: 65536 }],
    ['00000200 00000200 ffffffff', { minimum: 512, preferred: 512, maximum: 0xffffffff }],
    ['00010000 00010000 00010000', { minimum: 65536, preferred: 65536, maximum: 65536 }],
  ])('%s', (hex, expected) => {
    expect(decodeBlockSize(wire(hex))).toEqual(expected);
  });

  it.each([
    ['minimum 0', '00000000 00001000 02000000', /minimum block size 0/],
    ['minimum 3', '00000003 00001000 02000000', /minimum block size 3/],
    ['minimum 128 KiB', '00020000 00020000 02000000', /minimum block size 131072/],
    ['preferred 0', '00000001 00000000 02000000', /preferred block size 0/],
    ['preferred 4097', '00000001 00001001 02000000', /preferred block size 4097/],
    ['preferred below minimum', '00001000 00000200 02000000', /preferred block size 512/],
    ['maximum below minimum', '00001000 00001000 00000800', /maximum payload 2048/],
    ['maximum 0', '00000001 00001000 00000000', /maximum payload 0/],
    ['too short', '00000001 00001000', /8 bytes, 12 expected/],
    ['too long', '00000001 00001000 02000000 00', /13 bytes, 12 expected/],
  ])('refuses %s', (_name, hex, message) => {
    expect(() => decodeBlockSize(wire(hex))).toThrow(PROTOCOL(message));
  });
});
