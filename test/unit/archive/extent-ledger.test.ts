import { describe, expect, test } from 'vitest';
import { ExtentLedger } from '#nbdelta/archive/v1/extent-ledger.js';
import { UsageError } from '#nbdelta/errors.js';
import { rowsOf } from './tiny-archive.js';

describe('extent ledger', () => {
  test('neighbouring zero ranges become one row', () => {
    const ledger = new ExtentLedger(1000);
    ledger.addZero(0, 10);
    ledger.addZero(10, 20);
    ledger.addZero(31, 9);
    ledger.addData(40, 10, 0, 0);
    ledger.addZero(50, 10);
    ledger.flush();
    expect(rowsOf(ledger.table)).toEqual([
      { offset: 0, length: 30, zero: true },
      { offset: 31, length: 9, zero: true },
      { offset: 40, length: 10, frame: 0, within: 0 },
      { offset: 50, length: 10, zero: true },
    ]);
    expect([ledger.dataBytes, ledger.zeroBytes]).toEqual([10, 49]);
  });

  test('a zero range longer than 16 TiB is several rows', () => {
    const ledger = new ExtentLedger(2 ** 52);
    ledger.addZero(5, 2 ** 45 + 7);
    ledger.flush();
    expect(rowsOf(ledger.table)).toEqual([
      { offset: 5, length: 2 ** 44, zero: true },
      { offset: 5 + 2 ** 44, length: 2 ** 44, zero: true },
      { offset: 5 + 2 ** 45, length: 7, zero: true },
    ]);
  });

  test('data that goes on in disk and frame is one row, but not once it is in a pack', () => {
    const ledger = new ExtentLedger(1000);
    ledger.addData(0, 10, 0, 0);
    ledger.addData(10, 10, 0, 10);
    ledger.settle();
    ledger.addData(20, 10, 0, 20);
    ledger.addData(30, 10, 1, 30);
    ledger.addData(40, 10, 1, 45);
    expect(rowsOf(ledger.table).map(row => row.length)).toEqual([20, 10, 10, 10]);
  });

  test.each([
    ['before the end', [{ offset: 9, length: 5 }]],
    ['empty', [{ offset: 10, length: 0 }]],
    ['negative', [{ offset: -1, length: 5 }]],
    ['fraction', [{ offset: 10.5, length: 5 }]],
    ['outside of the disk', [{ offset: 90, length: 11 }]],
    [
      'overlap with each other',
      [
        { offset: 10, length: 5 },
        { offset: 14, length: 5 },
      ],
    ],
  ])('refuses a range that is %s', (_, ranges) => {
    const ledger = new ExtentLedger(100);
    ledger.addData(0, 10, 0, 0);
    expect(() => ledger.check(ranges)).toThrow(UsageError);
  });
});
