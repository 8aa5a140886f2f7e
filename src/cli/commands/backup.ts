import { type Command, Option } from 'commander';
import { printable } from '../../errors.js';
import type { BackupResult } from '../../operations/backup.js';
import type { BackupOptions } from '../../operations/backup-options.js';
import { readDiskArguments } from '../arguments/disk-arguments.js';
import { secondsAsMs, sizeInBytes, wholeNumber } from '../arguments/numbers.js';
import { withCommonOptions, withRepository } from '../command-options.js';
import { formatBytes, formatDuration, formatRate } from '../display/format.js';
import { describeSince, formatDisks, formatRatio } from '../display/point-table.js';
import type { View } from '../display/view.js';
import { withSubjectOnce } from '../display/without-subject.js';
import { EXIT_CODES } from '../exit-codes.js';
import { type CommonOptions, runCommand } from '../run-command.js';

const EXAMPLES = [
  'backup vda=nbd://host/vda --repo /backup --name web1',
  "backup 'vda=nbd+unix:///vda?socket=/run/backup.sock' --repo /backup --name web1 --checkpoint monday",
  "backup vda=nbd://host/vda vdb=nbd://host/vdb --name web1 --bitmap 'backup-{disk}' --since monday",
];

interface Options extends CommonOptions {
  readonly repo: string;
  readonly name: string;
  readonly bitmap?: string;
  readonly level: NonNullable<BackupOptions['level']>;
  readonly since?: string;
  readonly checkpoint?: string;
  readonly machineId?: string;
  readonly fullEvery?: number;
  readonly maxChain?: number;
  readonly compression?: string;
  readonly allowPartial?: boolean;
  readonly threads?: number;
  readonly connections?: number;
  readonly timeout?: number;
  readonly retries?: number;
  readonly frameSize?: number;
}

export function addBackupCommand(program: Command): void {
  const command = program
    .command('backup')
    .description('back up the disks of one guest as one recovery point')
    .argument(
      '<disks...>',
      'DISK=URI: the name a disk has in the point, and the NBD export that publishes it; a bare URI is named ' +
        "as its export, or disk0, disk1 … by position where the export's name is empty or unfit",
    )
    .requiredOption('--name <machine>', 'name of the guest in the repository');
  withRepository(command);
  addChainOptions(command);
  addTransferOptions(command);
  withCommonOptions(command, EXAMPLES).action((disks: string[], options: Options) =>
    runCommand(options, async context => {
      context.whenStopped('nothing was stored');
      const { backup } = await import('../../operations/backup.js');
      const { exportNameOf } = await import('../../operations/export-name.js');
      const result = await backup({
        ...backupOptions(options),
        disks: readDiskArguments(disks, exportNameOf, options.bitmap),
        signal: context.signal,
        onProgress: context.onProgress,
      });
      await context.print({ json: () => result, text: view => formatBackup(result, view) });
      if (options.bitmap !== undefined) for (const text of missingBitmaps(result)) context.note(text);
      return result.point.partial ? EXIT_CODES.PARTIAL : undefined;
    }),
  );
}

function addChainOptions(command: Command): void {
  const levels = ['auto', 'full', 'incremental', 'differential', 'copy'];
  command
    .option(
      '--bitmap <template>',
      'dirty bitmap with the changes; {disk} is replaced (default: backup-{disk})',
    )
    .addOption(
      new Option('--level <level>', 'auto: incremental if it can be, else full')
        .choices(levels)
        .default('auto'),
    )
    .option('--since <label|point>', 'what the bitmap records since: a checkpoint, a point, or latest')
    .option('--checkpoint <label>', 'what the new point stands for; a later --since names it')
    .option('--machine-id <id>', 'what never changes about the guest, e.g. its uuid')
    .option('--full-every <n>', 'with auto: a chain has at most this many points', wholeNumber(1))
    .option('--max-chain <n>', 'with auto: a restore reads at most this many archives', wholeNumber(1))
    .option('--allow-partial', 'commit the point even when a disk failed');
}

function addTransferOptions(command: Command): void {
  command
    .option('--compression <codec>', 'zstd:1 to zstd:19, or none (default: zstd:1)')
    .option('--frame-size <size>', 'raw bytes compressed at once (default: 1M)', sizeInBytes)
    .option('--threads <n>', 'threads for compression (default: what the machine has)', wholeNumber(1))
    .option('--connections <n>', 'connections for each disk (default: 4)', wholeNumber(1))
    .option('--timeout <seconds>', 'how long the server may be silent (default: 60)', secondsAsMs)
    .option('--retries <n>', 'how often a lost connection is opened again (default: 3)', wholeNumber(0));
}

function backupOptions(options: Options): Omit<BackupOptions, 'disks'> {
  const { repo, name, compression, timeout, level, since, checkpoint, machineId } = options;
  const { fullEvery, maxChain, allowPartial, threads, connections, retries, frameSize } = options;
  return {
    ...{ repository: repo, machine: name, codec: compression, timeoutMs: timeout },
    ...{ level, since, checkpoint, machineId, fullEvery, maxChain, allowPartial },
    ...{ threads, connections, retries, frameSize },
  };
}

/** A bitmap that was named and is not there is likely misspelt: a full instead of it must not go unnoticed. */
function missingBitmaps({ point }: BackupResult): string[] {
  const reasons = [point.reason, ...point.disks.map(disk => disk.reason)];
  const texts = reasons.flatMap(reason => (reason?.code === 'bitmap-missing' ? [reason.text] : []));
  return [...new Set(texts)].map(text => `warning: ${printable(text)}: a full was taken`);
}

function* formatBackup({ machine, point, warnings, elapsedMs }: BackupResult, view: View): Generator<string> {
  const { style } = view;
  const { readBytes, dataBytes, storedBytes } = point.statistics;
  yield `${style.bold(`${machine}@${point.id}`)}  ${style.green(point.level)}`;
  if (point.reason) yield `  ${point.level}: ${printable(point.reason.text)}`;
  if (point.parent && !point.reason?.text.includes(point.parent.id)) yield `  builds on ${point.parent.id}`;
  const since = describeSince(point);
  if (since !== undefined) yield `  changes since: ${since}`;
  if (point.checkpoint !== null) yield `  checkpoint: ${printable(point.checkpoint)}`;
  yield* formatDisks(point, view);
  const stored = `${formatBytes(storedBytes)} (ratio ${formatRatio(dataBytes, storedBytes)})`;
  const rate = formatRate(readBytes, elapsedMs);
  yield `read ${formatBytes(readBytes)}, stored ${stored} in ${formatDuration(elapsedMs)}, ${rate}`;
  for (const { text } of warnings) yield style.yellow(`warning: ${printable(withSubjectOnce(text))}`);
}
