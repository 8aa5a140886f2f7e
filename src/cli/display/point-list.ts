import { printable } from '../../errors.js';
import type { MachineListing } from '../../operations/list-points.js';
import { formatAge, formatBytes, formatPlural, formatTime } from './format.js';
import type { PointManifest } from './point-table.js';
import { formatTable } from './table.js';
import { tableRoom, type View } from './view.js';

const INDENT = '  ';

/** TAKEN goes first where there is no room: the id begins with it. */
const COLUMNS = [
  { title: 'POINT' },
  { title: 'LEVEL' },
  { title: 'TAKEN', drop: 1 },
  { title: 'AGE', align: 'right', drop: 5 },
  { title: 'DISKS', drop: 4 },
  { title: 'READ', align: 'right', drop: 2 },
  { title: 'STORED', align: 'right', drop: 7 },
  { title: 'VERIFIED', drop: 8 },
  { title: 'CHECKPOINT', drop: 6 },
  { title: 'PARENT', drop: 3 },
  { title: '' },
] as const;

/** A machine's points, oldest first, chains shown by a branch before every point that builds on another. */
export function formatMachine(listing: MachineListing, view: View, now = Date.now()): string[] {
  const { style } = view;
  const id = listing.id === null ? '' : style.dim(` (id ${printable(listing.id)})`);
  const heading = `${style.bold(listing.machine)}${id}: ${formatPlural(listing.points.length, 'point')}`;
  const pins = new Map(listing.pins.map(pin => [pin.point, pin]));
  const rows = listing.points.map((point, index) => [
    ...pointRow(point, listing.points[index - 1], listing.verdicts[point.id], view, now),
    [...pinRemark(pins.get(point.id), view), ...remarks(point, view)].join(', '),
  ]);
  const room = tableRoom(view) - INDENT.length;
  const table = rows.length > 0 ? formatTable(COLUMNS, rows, style, room) : [];
  return [heading, ...[...table, ...troubles(listing, view)].map(line => INDENT + line)];
}

function pointRow(
  point: PointManifest,
  before: PointManifest | undefined,
  verdict: MachineListing['verdicts'][string] | undefined,
  view: View,
  now: number,
): string[] {
  const { style, unicode } = view;
  const branch = point.parent === null ? '' : unicode ? '└ ' : '+ ';
  return [
    style.dim(branch) + point.id,
    point.level,
    formatTime(point.created),
    formatAge(now - Date.parse(point.created)),
    point.disks.map(disk => disk.name).join(' '),
    formatBytes(point.statistics.readBytes),
    formatBytes(point.statistics.storedBytes),
    verdict === undefined ? '' : formatVerdict(verdict, view),
    printable(point.checkpoint ?? ''),
    // The point just above needs no words.
    point.parent === null || isPoint(before, point.parent.id) ? '' : point.parent.id,
  ];
}

/** Whether a parent's id names this point: its own, or that of one it stands for since a merge. */
function isPoint(point: PointManifest | undefined, id: string): boolean {
  return point !== undefined && (point.id === id || point.standsFor.some(entry => entry.id === id));
}

function formatVerdict(
  { at, how, share, result }: MachineListing['verdicts'][string],
  { style }: View,
): string {
  const day = at.slice(0, 10);
  if (result === 'damaged') return style.red(`damaged ${day}`);
  if (result === 'differs') return style.yellow(`differs ${day}`);
  if (how === 'sample') return `sample ${Number(((share ?? 1) * 100).toPrecision(2))}% ${day}`;
  return `ok ${day}`;
}

function pinRemark(pin: MachineListing['pins'][number] | undefined, { style }: View): string[] {
  if (pin === undefined) return [];
  if (pin.error !== null) return [style.red('pinned, but the pin cannot be read')];
  return [pin.note === null ? 'pinned' : `pinned: ${printable(pin.note)}`];
}

function remarks(point: PointManifest, { style }: View): string[] {
  const failed = point.disks.filter(disk => disk.status === 'failed').map(disk => disk.name);
  const partial = failed.length > 0 ? [`partial: ${failed.join(' ')} failed`] : [];
  const compared = point.disks.filter(disk => disk.method === 'rescan').map(disk => disk.name);
  const rescanned = compared.length > 0 ? [`rescan: ${compared.join(' ')}`] : [];
  const warnings = point.warnings.length > 0 ? [formatPlural(point.warnings.length, 'warning')] : [];
  const merged = point.replaces.length > 0 ? ['merged'] : [];
  return [...[...partial, ...warnings].map(style.yellow), ...rescanned, ...merged];
}

function troubles({ unreadable, incomplete }: MachineListing, { style }: View): string[] {
  return [
    ...unreadable.map(({ id, message }) => style.red(`! ${id}  cannot be read: ${printable(message)}`)),
    ...incomplete.map(id => style.yellow(`? ${printable(id)}  incomplete: a backup runs, or was cut off`)),
  ];
}
