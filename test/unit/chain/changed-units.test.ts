import fc from 'fast-check';
import { expect, it } from 'vitest';
import { ChangedUnits } from '#nbdelta/chain/changed-units.js';

const UNIT = 65_536;

it('gives the marked units of a range, joined, and cut where the range ends', () => {
  const units = new ChangedUnits(10 * UNIT);
  units.mark(2 * UNIT - 1, 2);
  units.mark(5 * UNIT + 7, 1);
  expect([...units.markedWithin(0, 10 * UNIT)]).toEqual([
    { offset: UNIT, length: 2 * UNIT },
    { offset: 5 * UNIT, length: UNIT },
  ]);
  expect([...units.markedWithin(UNIT + 5, 10)]).toEqual([{ offset: UNIT + 5, length: 10 }]);
  expect([...units.markedWithin(3 * UNIT, 2 * UNIT)]).toEqual([]);
});

it('has larger units for disks with too many', () => {
  expect(new ChangedUnits(8 * 2 ** 40).unit).toBe(UNIT);
  expect(new ChangedUnits(8 * 2 ** 40 + 1).unit).toBe(2 * UNIT);
  expect(new ChangedUnits(1000 * UNIT, 10).unit).toBe(128 * UNIT);
});

it('covers exactly the units that any mark touches', () => {
  const mark = fc.record({ offset: fc.nat(40 * UNIT), length: fc.integer({ min: 1, max: 3 * UNIT }) });
  fc.assert(
    fc.property(fc.array(mark, { maxLength: 8 }), marks => {
      const units = new ChangedUnits(44 * UNIT);
      const model = new Set<number>();
      for (const { offset, length } of marks) {
        units.mark(offset, length);
        for (let unit = Math.floor(offset / UNIT); unit * UNIT < offset + length; unit++) model.add(unit);
      }
      const seen = [...units.markedWithin(0, 44 * UNIT)].flatMap(({ offset, length }) =>
        Array.from({ length: length / UNIT }, (_, index) => offset / UNIT + index),
      );
      expect(seen).toEqual([...model].sort((a, b) => a - b));
    }),
  );
});
