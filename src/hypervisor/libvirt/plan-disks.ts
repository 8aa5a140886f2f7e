import { UsageError } from '../../errors.js';
import type { DiskSelection, Guest, Reason } from '../front-end.js';
import { selectDisks as selectAmong } from '../select-disks.js';
import type { DomainDisk } from './domain-xml.js';

export interface SelectedDisks {
  readonly disks: readonly DomainDisk[];
  readonly skipped: Guest['skipped'];
}

/**
 * Which disks of a domain are backed up: hard disks with a source, unless told otherwise.
 * @throws UsageError when a disk is named that there is not, or that cannot be backed up, or nothing is left.
 */
export function selectDisks(all: readonly DomainDisk[], selection: DiskSelection): SelectedDisks {
  const unfit = all.flatMap(disk => unfitDisk(disk) ?? []);
  const fit = all.filter(disk => !unfit.some(({ name }) => name === disk.target));
  const found = { disks: fit.map(disk => ({ name: disk.target, disk })), skipped: unfit };
  const { disks, skipped } = selectAmong(found, selection);
  if (disks.length > 0) return { disks: disks.map(({ disk }) => disk), skipped };
  const names = all.map(disk => disk.target).join(', ');
  throw new UsageError('no disk is left to back up', {
    hint: `the domain has ${names || 'no disks'}; see --disk and --exclude`,
  });
}

/** Why no bitmap can be kept on a disk; `null` when one can. */
export function noBitmapReason({ target, format, isTransient }: DomainDisk): Reason | null {
  if (isTransient) {
    return {
      code: 'no-persistent-bitmap',
      text: `disk ${target} is transient: what it records is gone with it`,
    };
  }
  if (format === 'qcow2') return null;
  return {
    code: 'no-persistent-bitmap',
    text: `disk ${target} is ${format}: only qcow2 keeps bitmaps`,
  };
}

function unfitDisk({ target: name, ...disk }: DomainDisk): Guest['skipped'][number] | undefined {
  const { device, source, isReadonly } = disk;
  const unfit = (code: string, text: string) => ({ name, reason: { code, text: `${name} ${text}` } });
  if (device !== 'disk' && device !== 'lun') return unfit(device, `is a ${device}`);
  if (source === undefined) return unfit('empty', 'has no source');
  // libvirt (9.0): "disk 'vdb' is empty or readonly", and the whole job is refused.
  return isReadonly ? unfit('readonly', 'is read-only: libvirt backs up no such disk') : undefined;
}
