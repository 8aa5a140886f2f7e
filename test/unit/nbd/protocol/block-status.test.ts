import { describe, expect, it } from 'vitest';
import { decodeStatusRun } from '#nbdelta/nbd/client/status-run.js';
import { decodeContextId, visitDescriptors } from '#nbdelta/nbd/protocol/block-status.js';
import { wire } from '../../../support/wire-bytes.js';

function visited(hex: string, extended: boolean): [number, number][] {
  const result: [number, number][] = [];
  visitDescriptors(wire(hex), extended, (length, status) => result.push([length, status]));
  return result;
}

describe('block status payloads', () => {
  it('compact', () => {
    const hex = '00000007 00010000 00000003 ffffffff 80000001';
    expect(decodeContextId(wire(hex))).toBe(7);
    expect(visited(hex, false)).toEqual([
      [65536, 3],
      [0xffffffff, 0x80000001],
    ]);
  });

  it('extended: lengths and flags of 64 bits', () => {
    const hex = '00000009 00000002 0000000200000000 0000000000000003 001fffffffffffff 00000000ffffffff';
    expect(decodeContextId(wire(hex))).toBe(9);
    expect(visited(hex, true)).toEqual([
      [0x200000000, 3],
      [Number.MAX_SAFE_INTEGER, 0xffffffff],
    ]);
  });

  it.each([
    ['compact length 0', '00000007 00000001 00000000 00000000 00000000', false],
    ['extended length 0', '00000007 00000001 0000000000000000 0000000000000000', true],
    ['count too large', '00000007 00000002 0000000000000001 0000000000000000', true],
    ['count too small', '00000007 00000000 0000000000000001 0000000000000000', true],
    ['count that wraps', '00000007 10000001 0000000000000001 0000000000000000', true],
    ['length above 2^53', '00000007 00000001 0020000000000000 0000000000000000', true],
  ])('refuses %s', (_name, hex, extended) => {
    expect(() => visited(hex, extended)).toThrow(expect.objectContaining({ code: 'NBD_PROTOCOL' }));
  });

  it('becomes a run in columns', () => {
    const run = decodeStatusRun(wire('00000001 00000200 00000000 00000100 00000003'), false, 4096);
    expect(run.offset).toBe(4096);
    expect([...run.lengths]).toEqual([512, 256]);
    expect([...run.statuses]).toEqual([0, 3]);
    expect(run.total).toBe(768);
  });
});
