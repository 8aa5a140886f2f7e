import type { DemoEvent, DemoResult } from '../../operations/demo/run-demo.js';
import { formatDiskPicture } from '../display/disk-picture.js';
import { formatBytes, formatDuration, formatShare } from '../display/format.js';
import { formatRatio } from '../display/point-table.js';
import type { View } from '../display/view.js';

/** 64 columns, two rows: a page holds both maps. */
const PICTURE_CELLS = 128;

/** A step of the demo as it is told on a terminal. */
export function* formatDemoEvent(event: DemoEvent, view: View): Generator<string, void, undefined> {
  const { style } = view;
  switch (event.kind) {
    case 'disk':
      yield `${style.bold('The disk')}: ${formatBytes(event.size)}, ${event.about}`;
      yield `  ${event.content}`;
      break;
    case 'backup':
      yield '';
      yield* formatBackup(event, view);
      break;
    case 'change':
      yield '';
      yield style.bold('The guest goes on working');
      for (const line of event.lines) yield `  - ${line}`;
      break;
    case 'restore':
      yield '';
      yield* formatRestore(event, view);
      break;
  }
}

type Backup = Extract<DemoEvent, { kind: 'backup' }>;

function* formatBackup({ map, result, uri, repository }: Backup, view: View): Generator<string> {
  const { style } = view;
  const { point } = result;
  const { readBytes, storedBytes, dataBytes, zeroBytes } = point.statistics;
  const label = point.checkpoint ?? '';
  const since = point.since.label === null ? '' : ` --since ${point.since.label}`;
  if (since === '') yield command(`export NBDELTA_REPOSITORY=${repository}`, view);
  yield command(`nbdelta backup 'vda=${uri}' --name ${result.machine} --checkpoint ${label}${since}`, view);
  for (const line of formatDiskPicture(map.picture(PICTURE_CELLS), map.size, view)) yield `  ${line}`;
  yield `  ${style.green(point.level)} ${point.id}${point.reason ? ` (${point.reason.text})` : ''}`;
  const share = formatShare(readBytes, map.size);
  const kept = `kept ${formatBytes(dataBytes)} data and ${formatBytes(zeroBytes)} zero`;
  yield `  disk ${formatBytes(map.size)}, read ${formatBytes(readBytes)} (${share}), ${kept}`;
  yield `  stored ${style.bold(formatBytes(storedBytes))} (${formatRatio(dataBytes, storedBytes)}) in ${formatDuration(result.elapsedMs)}`;
}

type Restore = Extract<DemoEvent, { kind: 'restore' }>;

function* formatRestore({ to, result, comparison }: Restore, view: View): Generator<string> {
  const { style } = view;
  const name = `${result.machine}@${result.point}`;
  yield command(`nbdelta restore ${name} --disk vda --to ${to}`, view);
  const from = result.disks[0]?.chain.length === 1 ? 'the full' : 'the full and the incremental';
  const verdict = comparison.same ? style.green('identical') : style.red('DIFFERENT');
  const digest = comparison.sha256 === undefined ? '' : ` ${comparison.sha256.slice(0, 16)}...`;
  yield `  from ${from} in ${formatDuration(result.elapsedMs)}; against the disk at that time: ${verdict} (${comparison.method}${digest})`;
}

/** How it ended and where everything is. */
export function* formatDemoEnd(result: DemoResult, { style }: View): Generator<string> {
  yield '';
  const count = result.restores.length;
  yield result.ok
    ? `${style.green(style.bold('All is well'))}: ${count} restored images, each bit for bit what the disk held at its time (${formatDuration(result.elapsedMs)}).`
    : style.red('A restored image differs from the disk: this is a defect in nbdelta, please report it.');
  yield result.kept
    ? `  Look around: NBDELTA_REPOSITORY=${result.repository} nbdelta list   (then remove ${result.folder})`
    : `  The archives lay in ${result.repository} and are gone now; --keep leaves them for you to look at.`;
}

function command(text: string, { style }: View): string {
  return `${style.dim('$')} ${style.cyan(text)}`;
}
