import { type Command, Option } from 'commander';
import { printable, UsageError } from '../../errors.js';
import type { DefinedGuest } from '../../operations/define-guest.js';
import type { RestoreOptions, RestoreResult } from '../../operations/restore.js';
import { POINT_HELP, withCommonOptions, withRepository } from '../command-options.js';
import { formatBytes, formatDuration, formatPlural, formatRate } from '../display/format.js';
import { formatTable } from '../display/table.js';
import type { View } from '../display/view.js';
import { type CommandContext, type CommonOptions, runCommand } from '../run-command.js';

const EXAMPLES = [
  'restore web1 --repo /backup --to /restored/web1',
  'restore web1@2026-11-22 --to /images/restored --define web1-restored --new-macs',
  'restore web1@2026-11-22 --disk vda --to vda.qcow2',
  'restore web1 --disk vda --to /dev/vg0/web1 --force',
  'restore web1 --disk vda --to nbd://host/target',
  'restore web1 --disk vda --to - | ssh host "cat > vda.raw"',
];

interface Options extends CommonOptions {
  readonly repo: string;
  readonly to: string;
  readonly disk?: string;
  readonly format?: NonNullable<RestoreOptions['format']>;
  readonly force?: boolean;
  readonly define?: string;
  readonly connect?: string;
  readonly newMacs?: boolean;
}

export function addRestoreCommand(program: Command): void {
  const command = program
    .command('restore')
    .description('restore one disk, or all disks of a point into a folder')
    .argument('<point>', POINT_HELP)
    .requiredOption('--to <target>', 'file, block device, NBD URI, or - for stdout; a folder without --disk')
    .option('--disk <disk>', 'only this disk')
    .addOption(new Option('--format <format>', 'of files').choices(['raw', 'qcow2']))
    .option(
      '--force',
      'replace an existing file, overwrite a device (an NBD export is overwritten without it)',
    );
  command
    .option('--define <name>', 'also define a libvirt guest of this name with the disks; it is not started')
    .option('--connect <uri>', "libvirt's connection URI, for --define")
    .option('--new-macs', 'with --define: new network addresses, so that it can run beside the original');
  withRepository(command);
  withCommonOptions(command, EXAMPLES).action((point: string, options: Options) =>
    runCommand(options, async context => {
      const { repo, to, disk, format, force } = options;
      if (options.define !== undefined) return await defineGuest(point, options, options.define, context);
      if (options.connect !== undefined || options.newMacs) {
        throw new UsageError('--connect and --new-macs mean something with --define only');
      }
      if (to === '-') context.takeStdout();
      if (to === '-') checkStreamable(format);
      const { restore } = await import('../../operations/restore.js');
      const result = await restore({
        ...{ repository: repo, point, disk, to, format, force },
        ...(to === '-' && { output: process.stdout }),
        signal: context.signal,
        onProgress: context.onProgress,
      });
      await context.print({ json: () => result, text: view => formatRestore(result, view) });
      return undefined;
    }),
  );
}

async function defineGuest(
  point: string,
  { repo, to, disk, format, force, connect, newMacs }: Options,
  define: string,
  context: CommandContext,
): Promise<undefined> {
  if (disk !== undefined) throw new UsageError('--define needs all disks: leave out --disk');
  const operation = await import('../../operations/define-guest.js');
  const result = await operation.defineGuest({
    ...{ repository: repo, point, to, format, force, define, connect, newMacs },
    signal: context.signal,
    onProgress: context.onProgress,
  });
  await context.print({ json: () => result, text: view => formatDefined(result, view) });
  return undefined;
}

function* formatDefined(result: DefinedGuest, view: View): Generator<string> {
  yield* formatRestore(result, view);
  const { name, uuid, description, notices } = result.guest;
  for (const text of notices) yield `note: ${printable(text)}`;
  yield `defined ${view.style.bold(printable(name))} (${uuid}), as ${description}; start it with: virsh start ${printable(name)}`;
}

function checkStreamable(format: Options['format']): void {
  if (format === 'qcow2') throw new UsageError('qcow2 cannot be written to stdout, only raw');
  if (!process.stdout.isTTY) return;
  throw new UsageError('a disk is not for a terminal', {
    hint: 'redirect it: nbdelta restore … --to - > disk.raw, or pipe it into a program',
  });
}

function* formatRestore(result: RestoreResult, view: View): Generator<string> {
  const { style } = view;
  const total = result.disks.reduce((sum, disk) => sum + disk.size, 0);
  yield `restored ${style.bold(`${result.machine}@${result.point}`)}`;
  yield* formatTable(
    [{ title: 'DISK' }, { title: 'SIZE', align: 'right' }, { title: 'TO' }, { title: 'FROM' }],
    result.disks.map(disk => [
      style.bold(disk.disk),
      formatBytes(disk.size),
      disk.target === '-' ? 'stdout' : disk.target,
      describeChain(disk.chain),
    ]),
    style,
  );
  for (const { disk, target, beyond } of result.disks) {
    if (beyond > 0)
      yield `note: ${target} is ${formatBytes(beyond)} larger than ${disk}; what lies there was left as it was`;
  }
  yield `${formatBytes(total)} in ${formatDuration(result.elapsedMs)}, ${formatRate(total, result.elapsedMs)}; every digest matched`;
}

function describeChain(chain: readonly string[]): string {
  if (chain.length <= 3) return chain.join(' + ');
  return `${chain[0]} + ${formatPlural(chain.length - 2, 'point')} + ${chain[chain.length - 1]}`;
}
