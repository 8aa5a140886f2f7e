import { HypervisorError, UsageError } from '../../errors.js';
import type { Reason } from '../front-end.js';
import type { Host } from '../host/host.js';

/** Free bytes that the scratch folder keeps when nothing else is said. */
export const DEFAULT_SCRATCH_RESERVE = 256 << 20;

/** @throws HypervisorError SCRATCH_FULL when less than the reserve is free; UsageError when there is no such folder. */
export async function checkScratchSpace(host: Host, folder: string, reserve: number): Promise<number> {
  if (!(await host.exists(folder))) {
    throw new UsageError(`there is no scratch folder ${folder}`, { hint: 'name one with --scratch' });
  }
  const free = await host.freeBytes(folder);
  if (free >= reserve) return free;
  throw new HypervisorError(
    'SCRATCH_FULL',
    `the scratch folder ${folder} has ${free} bytes free, and must keep ${reserve}`,
    {
      hint: 'make space there, or choose another folder with --scratch',
      fields: { folder, free, reserve },
    },
  );
}

/**
 * Warns when a guest that overwrites all of its disks during the job could fill the scratch folder: everything that it
 * overwrites is kept there until the job ends.
 */
export function forecastScratch(
  folder: string,
  free: number,
  reserve: number,
  diskSizes: readonly number[],
): readonly Reason[] {
  const needed = diskSizes.reduce((sum, size) => sum + size, 0);
  if (free - reserve >= needed) return [];
  const text =
    `the scratch folder ${folder} has ${free} bytes free; a guest that writes to all of its disks during ` +
    `the backup could need ${needed}. The job is ended before less than ${reserve} are free`;
  return [{ code: 'scratch-may-fill', text }];
}
