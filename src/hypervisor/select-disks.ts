import { UsageError } from '../errors.js';
import type { DiskSelection, Reason } from './front-end.js';

export interface SkippedDisk {
  readonly name: string;
  readonly reason: Reason;
}

/** The disks that a selection leaves, and those that it skips. */
export interface SelectedDisks<Disk> {
  readonly disks: readonly Disk[];
  readonly skipped: readonly SkippedDisk[];
}

/**
 * Applies a selection to what a guest has.
 * @throws UsageError when it names a disk that the guest has not got, or one that cannot be backed up.
 */
export function selectDisks<Disk extends { readonly name: string }>(
  found: SelectedDisks<Disk>,
  { include, exclude = [] }: DiskSelection,
): SelectedDisks<Disk> {
  for (const name of include ?? []) checkIncluded(found, name);
  for (const name of exclude) checkKnown(found, name);
  const isIn = ({ name }: Disk) => (include?.includes(name) ?? true) && !exclude.includes(name);
  const excluded = found.disks
    .filter(disk => !isIn(disk))
    .map(({ name }) => ({ name, reason: { code: 'excluded', text: `${name} was not selected` } }));
  return { disks: found.disks.filter(isIn), skipped: [...found.skipped, ...excluded] };
}

function checkKnown<Disk extends { readonly name: string }>(found: SelectedDisks<Disk>, name: string): void {
  const names = [...found.disks, ...found.skipped].map(disk => disk.name);
  if (names.includes(name)) return;
  throw new UsageError(`the guest has no disk ${JSON.stringify(name)}`, {
    hint: names.length === 0 ? 'it has none' : `it has ${names.join(', ')}`,
  });
}

function checkIncluded<Disk extends { readonly name: string }>(
  found: SelectedDisks<Disk>,
  name: string,
): void {
  checkKnown(found, name);
  const skipped = found.skipped.find(disk => disk.name === name);
  if (skipped === undefined || found.disks.some(disk => disk.name === name)) return;
  throw new UsageError(`disk ${name} cannot be backed up: ${skipped.reason.text}`);
}
