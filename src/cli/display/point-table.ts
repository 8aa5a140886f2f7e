import { printable } from '../../errors.js';
import type { MachineListing } from '../../operations/list-points.js';
import { formatBytes, formatTime } from './format.js';
import { formatTable } from './table.js';
import { tableRoom, type View } from './view.js';
import { withoutSubject } from './without-subject.js';

/** A point's manifest. */
export type PointManifest = MachineListing['points'][number];

/** A table of what was read and kept of each disk of a point. */
export function formatDisks(point: PointManifest, view: View): string[] {
  const columns = [
    { title: 'DISK' },
    { title: 'LEVEL', drop: 5 },
    { title: 'SIZE', align: 'right' },
    { title: 'READ', align: 'right', drop: 3 },
    { title: 'DATA', align: 'right', drop: 4 },
    { title: 'ZERO', align: 'right', drop: 2 },
    { title: 'STORED', align: 'right' },
    { title: 'RATIO', align: 'right', drop: 1 },
    { title: '' },
  ] as const;
  return formatTable(
    columns,
    point.disks.map(disk => diskRow(disk, view)),
    view.style,
    tableRoom(view),
  );
}

function diskRow(disk: PointManifest['disks'][number], { style }: View): string[] {
  const head = [
    style.bold(disk.name),
    describeLevel(disk),
    formatBytes(disk.size),
    formatBytes(disk.readBytes),
  ];
  if (disk.status === 'failed') {
    const why = withoutSubject(disk.error.message, [`disk ${disk.name}`]);
    return [...head, '', '', '', '', style.red(`failed: ${printable(why)}`)];
  }
  const { dataBytes, zeroBytes, storedBytes } = disk.archive;
  return [
    ...head,
    formatBytes(dataBytes),
    formatBytes(zeroBytes),
    formatBytes(storedBytes),
    formatRatio(dataBytes, storedBytes),
  ];
}

/** A disk's level, and how it learned what changed where no bitmap said so. */
export function describeLevel(disk: Pick<PointManifest['disks'][number], 'level' | 'method'>): string {
  return disk.method === 'rescan' ? `${disk.level} (rescan)` : disk.level;
}

/** How many times smaller the archive is than its data: `2.1x`. */
export function formatRatio(dataBytes: number, storedBytes: number): string {
  return storedBytes > 0 && dataBytes > 0 ? `${(dataBytes / storedBytes).toFixed(1)}x` : '-';
}

/** What an incremental's bitmap is known to reach back to. */
export function describeSince({ since }: PointManifest): string | undefined {
  const label = since.label === null ? '' : ` "${printable(since.label)}"`;
  if (since.kind === 'none') return undefined;
  if (since.kind === 'asserted') return `asserted by the caller${label}`;
  return `point ${since.point ?? '?'}${label}`;
}

/** When and why a point was pinned. */
export function describePin({ created, note, error }: MachineListing['pins'][number]): string {
  if (error !== null) return `yes, but the pin cannot be read: ${printable(error)}`;
  return `${formatTime(created ?? '')}${note === null ? '' : `: ${printable(note)}`}`;
}
