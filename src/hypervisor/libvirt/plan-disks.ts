import { UsageError } from '../../errors.js';
import type { DiskSelection, Guest, Reason } from '../front-end.js';
import type { DomainDisk } from './domain-xml.js';

type Skipped = Guest['skipped'][number];

export interface SelectedDisks {
  readonly disks: readonly DomainDisk[];
  readonly skipped: readonly Skipped[];
}

/**
 * Which disks of a domain are backed up: hard disks with a source, unless told otherwise.
 * @throws UsageError when a disk is named that there is not, or that cannot be backed up, or nothing is left.
 */
export function selectDisks(all: readonly DomainDisk[], { include, exclude }: DiskSelection): SelectedDisks {
  checkNames(all, [...(include ?? []), ...(exclude ?? [])]);
  const disks: DomainDisk[] = [];
  const skipped: Skipped[] = [];
  for (const disk of all) {
    const unfit = unfitReason(disk);
    const isNamed = include?.includes(disk.target) === true;
    if (unfit !== undefined && isNamed) {
      throw new UsageError(`disk ${disk.target} cannot be backed up: ${unfit.text}`);
    }
    const reason = unfit ?? notChosen(disk, include, exclude);
    if (reason === undefined) disks.push(disk);
    else skipped.push({ name: disk.target, reason });
  }
  if (disks.length > 0) return { disks, skipped };
  throw new UsageError('no disk is left to back up', {
    hint: `the domain has ${list(all.map(disk => disk.target))}; see --disk and --exclude`,
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

function checkNames(all: readonly DomainDisk[], named: readonly string[]): void {
  const names = all.map(disk => disk.target);
  const unknown = named.find(name => !names.includes(name));
  if (unknown === undefined) return;
  throw new UsageError(`the domain has no disk ${JSON.stringify(unknown)}`, {
    hint: `it has ${list(names)}`,
  });
}

function unfitReason({ target, device, source }: DomainDisk): Reason | undefined {
  if (device !== 'disk' && device !== 'lun') return { code: device, text: `${target} is a ${device}` };
  return source === undefined ? { code: 'empty', text: `${target} has no source` } : undefined;
}

function notChosen(
  { target }: DomainDisk,
  include: readonly string[] | undefined,
  exclude: readonly string[] | undefined,
): Reason | undefined {
  if (exclude?.includes(target)) return { code: 'excluded', text: `${target} was excluded` };
  const isIncluded = include === undefined || include.length === 0 || include.includes(target);
  return isIncluded ? undefined : { code: 'excluded', text: `${target} was not asked for` };
}

function list(names: readonly string[]): string {
  return names.length === 0 ? 'no disks' : names.join(', ');
}
