import { expect, it } from 'vitest';
import { forecastScratch } from '#nbdelta/hypervisor/libvirt/scratch.js';

const scratch = { place: '/s', isDevice: false, room: 1000, reserve: 100 };

it('forecasts the worst case, of all disks', () => {
  expect(forecastScratch(scratch, [600, 400])).toEqual([]);
  expect(forecastScratch(scratch, [600, 401])[0]).toMatchObject({
    code: 'scratch-may-fill',
    text: expect.stringMatching(/1000 .*1001/),
  });
});

it('does not begin with less than must stay free', () => {
  const full = expect.objectContaining({ code: 'SCRATCH_FULL' });
  expect(() => forecastScratch({ ...scratch, room: 99 }, [1])).toThrow(full);
  expect(forecastScratch({ ...scratch, room: 100 }, [1])).toEqual([]);
  // A device is the job's alone.
  expect(forecastScratch({ ...scratch, room: 99, isDevice: true }, [1])).toEqual([]);
});
