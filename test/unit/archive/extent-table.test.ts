import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ExtentTable } from '#nbdelta/archive/v1/extent-table.js';
import { littleEndianWords } from '#nbdelta/archive/v1/little-endian-words.js';
import { rowsOf } from './tiny-archive.js';

const TOP = 2 ** 52 - 1;
const offset = fc.oneof(fc.constantFrom(0, 1, 2 ** 32 - 1, 2 ** 32, TOP), fc.integer({ min: 0, max: TOP }));
const length = fc.oneof(fc.constantFrom(1, 4096, 4097, 2 ** 22), fc.integer({ min: 1, max: 2 ** 22 }));
const within = fc.oneof(fc.constantFrom(0, 2 ** 22 - 1), fc.integer({ min: 0, max: 2 ** 22 - 1 }));
const frame = fc.oneof(fc.constantFrom(0, 0xfffffffe), fc.integer({ min: 0, max: 0xfffffffe }));
const zeroLength = fc.oneof(fc.constantFrom(1, 4096, 4097, 2 ** 44), fc.integer({ min: 1, max: 2 ** 44 }));

/** The row as the format document says it: one 128-bit integer. */
function rowValue(offset: number, length: number, within: number, frame: number): bigint {
  return BigInt(offset) | (BigInt(length - 1) << 52n) | (BigInt(within) << 74n) | (BigInt(frame) << 96n);
}

function rowBytes(value: bigint): Buffer {
  return Buffer.from(value.toString(16).padStart(32, '0'), 'hex').reverse();
}

function encoded(table: ExtentTable): Buffer {
  const bytes = Buffer.alloc(table.count * 16);
  table.encode(0, table.count, bytes, 0);
  return bytes;
}

describe('extent table', () => {
  test('data rows have the bits of the format document, and come back', () => {
    fc.assert(
      fc.property(offset, length, within, frame, (offset, length, within, frame) => {
        const table = new ExtentTable();
        table.append(offset, length, frame, within);
        const bytes = encoded(table);
        expect(bytes).toEqual(rowBytes(rowValue(offset, length, within, frame)));
        table.appendRows(littleEndianWords(bytes));
        expect(rowsOf(table)).toEqual([
          { offset, length, frame, within },
          { offset, length, frame, within },
        ]);
      }),
    );
  });

  test('zero rows have the bits of the format document, and come back', () => {
    fc.assert(
      fc.property(offset, zeroLength, (offset, length) => {
        const table = new ExtentTable();
        table.appendZero(offset, length);
        const bytes = encoded(table);
        expect(bytes).toEqual(rowBytes(rowValue(offset, length, 0, 0xffffffff)));
        table.appendRows(littleEndianWords(bytes));
        expect(rowsOf(table)[1]).toEqual({ offset, length, zero: true });
      }),
    );
  });

  test('the example of the format document', () => {
    const table = new ExtentTable();
    table.append(1 << 20, 65_536, 2, 0);
    expect(encoded(table).toString('hex')).toBe('000010000000f0ff0f00000002000000');
  });

  test('find: the extent that contains an offset, else the next', () => {
    const table = new ExtentTable();
    for (let row = 0; row < 70_000; row++) table.append(row * 100 + 10, 50, row, 0);
    expect(table.find(0)).toBe(0);
    expect(table.find(59)).toBe(0);
    expect(table.find(60)).toBe(1);
    expect(table.find(66_000 * 100 + 10)).toBe(66_000);
    expect(table.find(7_000_000)).toBe(70_000);
    expect(new ExtentTable().find(5)).toBe(0);
  });
});
