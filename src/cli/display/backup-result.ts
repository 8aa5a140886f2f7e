import { printable } from '../../errors.js';
import type { BackupResult } from '../../operations/backup.js';
import { formatBytes, formatDuration, formatRate } from './format.js';
import { describeSince, formatDisks, formatRatio } from './point-table.js';
import type { View } from './view.js';
import { withoutSubject, withSubjectOnce } from './without-subject.js';

/** A bitmap that was named and is not there is likely misspelt: a full instead of it must not go unnoticed. */
export function missingBitmaps({ point }: BackupResult): string[] {
  const reasons = [point.reason, ...point.disks.map(disk => disk.reason)];
  const texts = reasons.flatMap(reason => (reason?.code === 'bitmap-missing' ? [reason.text] : []));
  return [...new Set(texts)].map(text => `warning: ${printable(text)}: a full was taken`);
}

export function* formatBackup(
  { machine, point, warnings, elapsedMs }: BackupResult,
  view: View,
): Generator<string> {
  const { style } = view;
  const { readBytes, dataBytes, storedBytes } = point.statistics;
  yield `${style.bold(`${machine}@${point.id}`)}  ${style.green(point.level)}`;
  if (point.reason) yield `  ${point.level}: ${printable(point.reason.text)}`;
  if (point.parent && !point.reason?.text.includes(point.parent.id)) yield `  builds on ${point.parent.id}`;
  const since = describeSince(point);
  if (since !== undefined) yield `  changes since: ${since}`;
  if (point.checkpoint !== null) yield `  checkpoint: ${printable(point.checkpoint)}`;
  yield* formatDisks(point, view);
  for (const { name, level, reason } of point.disks) {
    if (reason !== null && reason.text !== point.reason?.text) {
      yield `  ${name}: ${level}: ${printable(withoutSubject(reason.text, [`disk ${name}`]))}`;
    }
  }
  const stored = `${formatBytes(storedBytes)} (ratio ${formatRatio(dataBytes, storedBytes)})`;
  const rate = formatRate(readBytes, elapsedMs);
  yield `read ${formatBytes(readBytes)}, stored ${stored} in ${formatDuration(elapsedMs)}, ${rate}`;
  for (const { text } of warnings) yield style.yellow(`warning: ${printable(withSubjectOnce(text))}`);
}
