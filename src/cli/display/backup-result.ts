import { printable } from '../../errors.js';
import type { BackupResult } from '../../operations/backup.js';
import { formatBytes, formatDuration, formatRate } from './format.js';
import { describeLevel, describeSince, formatDisks, formatRatio } from './point-table.js';
import type { View } from './view.js';
import { withoutSubject, withSubjectOnce } from './without-subject.js';

/** A bitmap that was named and is not there is likely misspelt: what was done instead must not go unnoticed. */
export function missingBitmaps({ point }: BackupResult): string[] {
  const whole = [{ reason: point.reason, method: undefined }, ...point.disks];
  return whole.flatMap(({ reason, method }) => {
    if (reason?.code !== 'bitmap-missing') return [];
    const instead = method === 'rescan' ? 'everything was read and compared' : 'a full was taken';
    return [`warning: ${printable(reason.text)}: ${instead}`];
  });
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
  for (const { name, reason, ...disk } of point.disks) {
    if (reason !== null && !point.reason?.text.includes(reason.text)) {
      yield `  ${name}: ${describeLevel(disk)}: ${printable(withoutSubject(reason.text, [`disk ${name}`]))}`;
    }
  }
  const stored = `${formatBytes(storedBytes)} (ratio ${formatRatio(dataBytes, storedBytes)})`;
  const rate = formatRate(readBytes, elapsedMs);
  yield `read ${formatBytes(readBytes)}, stored ${stored} in ${formatDuration(elapsedMs)}, ${rate}`;
  for (const { text } of warnings) yield style.yellow(`warning: ${printable(withSubjectOnce(text))}`);
}
