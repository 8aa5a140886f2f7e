import type { PrunePreview } from '../../operations/prune-preview.js';
import { formatBytes, formatPlural, formatTime } from './format.js';
import { formatTable } from './table.js';
import { tableRoom, type View } from './view.js';

type PointFate = PrunePreview['points'][number];

const INDENT = '  ';

const COLUMNS = [
  { title: 'POINT' },
  { title: 'TAKEN', drop: 1 },
  { title: 'LEVEL', drop: 2 },
  { title: 'STORED', align: 'right', drop: 3 },
  { title: 'ACTION' },
  { title: '' },
] as const;

/** What prune is going to do with every point of a machine, oldest first, and what is gained. */
export function formatPrunePlan(plan: PrunePreview, view: View): string[] {
  const { style } = view;
  const rows = plan.points.map(fate => fateRow(fate, view));
  const room = tableRoom(view) - INDENT.length;
  const table = rows.length > 0 ? formatTable(COLUMNS, rows, style, room) : [];
  return [
    `${style.bold(plan.machine)}: ${formatPlural(plan.points.length, 'point')}`,
    ...[...table, ...formatTotals(plan)].map(line => INDENT + line),
  ];
}

function fateRow(fate: PointFate, view: View): string[] {
  const { id, created, level, bytes } = fate;
  return [id, formatTime(created), level, formatBytes(bytes), formatAction(fate, view), formatWhy(fate)];
}

function formatAction({ action }: PointFate, { style }: View): string {
  switch (action) {
    case 'keep':
      return style.green('keep');
    case 'merge':
      return style.yellow('merge');
    case 'remove':
      return style.red('remove');
  }
}

function formatWhy({ reasons, into, takesIn }: PointFate): string {
  if (into.length > 0) return `into ${into.join(' and ')}`;
  return [...reasons, ...(takesIn > 0 ? [`takes in ${formatPlural(takesIn, 'point')}`] : [])].join(', ');
}

function formatTotals({ points, steps, ...bytes }: PrunePreview): string[] {
  const count = (action: PointFate['action']) => points.filter(point => point.action === action).length;
  if (steps.length === 0) return ['nothing is to be removed'];
  const counts = `${count('keep')} kept, ${count('merge')} merged into others, ${count('remove')} removed`;
  if (bytes.writesBytes === 0) return [`${counts}: ${formatBytes(bytes.freesBytes)} freed`];
  const balance =
    bytes.freesBytes >= 0
      ? `at least ${formatBytes(bytes.freesBytes)} freed`
      : `up to ${formatBytes(-bytes.freesBytes)} more used: chains branch, and each branch takes in what they share`;
  const written = `at most ${formatBytes(bytes.writesBytes)} written anew`;
  const needs = bytes.needsBytes > 0 ? [`up to ${formatBytes(bytes.needsBytes)} more needed in between`] : [];
  return [`${counts}: ${balance}`, [written, ...needs].join(', ')];
}
