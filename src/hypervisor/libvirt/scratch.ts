import { join } from 'node:path';
import { HypervisorError, UsageError } from '../../errors.js';
import type { Reason } from '../front-end.js';
import type { ScratchPlace } from './backup-xml.js';
import type { LibvirtConnection } from './libvirt-connection.js';

export const DEFAULT_SCRATCH = '/var/tmp';
const DEFAULT_RESERVE = 256 << 20;

/** Where what the guest overwrites is kept while the job runs. */
export interface Scratch {
  readonly place: string;
  readonly isDevice: boolean;
  /** Free bytes of the folder, or the device's size. */
  readonly room: number;
  /** Free bytes that the folder must keep. */
  readonly reserve: number;
}

/** @throws UsageError, HypervisorError when the place is neither a folder nor one device for one disk. */
export async function inspectScratch({ host, options }: LibvirtConnection, disks: number): Promise<Scratch> {
  const place = options.scratch ?? DEFAULT_SCRATCH;
  const reserve = options.scratchReserve ?? DEFAULT_RESERVE;
  if (!place.startsWith('/'))
    throw new UsageError(`the scratch place must be an absolute path, not ${place}`);
  const is = async (kind: '-d' | '-b') => (await host.run('test', [kind, place])).code === 0;
  if (await is('-d')) return { place, isDevice: false, room: await host.freeBytes(place), reserve };
  if (!(await is('-b'))) {
    throw new HypervisorError(
      'HYPERVISOR_FAILED',
      `the scratch place ${place} is no folder and no block device`,
      {
        hint: 'make the folder, or name another one with --scratch',
      },
    );
  }
  if (disks === 1) return { place, isDevice: true, room: await deviceSize(host, place), reserve };
  throw new UsageError(`the scratch device ${place} is for one disk, and ${disks} are backed up`, {
    hint: 'name one --disk, or a folder with --scratch',
  });
}

async function deviceSize(host: LibvirtConnection['host'], path: string): Promise<number> {
  const { code, stdout, stderr } = await host.run('blockdev', ['--getsize64', path]);
  const size = Number(stdout.toString().trim());
  if (code === 0 && Number.isSafeInteger(size)) return size;
  throw new HypervisorError('HYPERVISOR_FAILED', `cannot tell the size of ${path}: ${stderr}`);
}

/** The scratch file carries the run's name: a later run recognises it, and libvirt refuses one that exists. */
export function scratchOf({ place, isDevice }: Scratch, run: string, disk: string): ScratchPlace {
  return { path: isDevice ? place : join(place, `${run}-${disk}.qcow2`), isDevice };
}

/**
 * Whether the space may not do: at worst the guest overwrites every block that it has, in an incremental, too.
 * @throws HypervisorError SCRATCH_FULL when there is too little to begin at all.
 */
export function forecastScratch(scratch: Scratch, sizes: readonly number[]): readonly Reason[] {
  const { place, isDevice, room, reserve } = scratch;
  const worst = sizes.reduce((sum, size) => sum + size, 0);
  if (!isDevice && room < reserve) throw scratchFull(place, room, reserve, 'nothing was begun');
  if (room >= worst) return [];
  const text = `the scratch place ${place} has room for ${room} bytes, and a guest that overwrites all would need ${worst}`;
  return [{ code: 'scratch-may-fill', text }];
}

export function scratchFull(place: string, room: number, reserve: number, then: string): HypervisorError {
  return new HypervisorError(
    'SCRATCH_FULL',
    `the scratch place ${place} has ${room} bytes left, ${reserve} must stay free: ${then}`,
    {
      hint: 'free space there, name another place with --scratch, or lower --scratch-reserve',
      fields: { room, reserve },
    },
  );
}
