import { type Command, Option } from 'commander';
import { printable } from '../../errors.js';
import type { ExportFormat, ExportResult } from '../../operations/export/export.js';
import { POINT_HELP, withCommonOptions, withRepository } from '../command-options.js';
import { formatBytes, formatDuration } from '../display/format.js';
import { formatTable } from '../display/table.js';
import type { View } from '../display/view.js';
import { type CommonOptions, runCommand } from '../run-command.js';

const FORMATS: readonly ExportFormat[] = ['qcow2-chain', 'raw', 'tar'];

const EXAMPLES = [
  'export web1 --to /images/web1 --format qcow2-chain --repo /backup   # needs only QEMU from then on',
  'export web1@2026-11-22 --to /images/web1 --format raw --disk vda',
  'export web1 --to /mnt/usb/web1 --format tar                         # needs only tar, zstd and python3',
];

interface Options extends CommonOptions {
  readonly repo: string;
  readonly to: string;
  readonly format: ExportFormat;
  readonly disk?: string;
}

export function addExportCommand(program: Command): void {
  const command = program
    .command('export')
    .description('write a point as something that needs no nbdelta any more')
    .argument('<point>', POINT_HELP)
    .requiredOption('--to <folder>', 'a missing or empty folder')
    .addOption(
      new Option(
        '--format <format>',
        'images that back one another, raw disks, or the archives with a script',
      )
        .choices(FORMATS)
        .makeOptionMandatory(),
    )
    .option('--disk <disk>', 'only this disk (images)');
  withRepository(command);
  withCommonOptions(command, EXAMPLES).action((point: string, options: Options) =>
    runCommand(options, async context => {
      const { exportPoint } = await import('../../operations/export/export.js');
      const { repo, to, format, disk } = options;
      const result = await exportPoint({
        ...{ repository: repo, point, to, format, disk },
        signal: context.signal,
        onProgress: context.onProgress,
      });
      await context.print({ json: () => result, text: view => formatExport(result, view) });
      return undefined;
    }),
  );
}

function* formatExport(
  { machine, point, folder, images, files, elapsedMs }: ExportResult,
  { style }: View,
): Generator<string> {
  yield `exported ${style.bold(`${machine}@${point}`)} to ${printable(folder)} in ${formatDuration(elapsedMs)}`;
  if (images.length > 0) {
    yield* formatTable(
      [{ title: 'DISK' }, { title: 'SIZE', align: 'right' }, { title: 'POINT' }, { title: 'FILE' }],
      images.map(image => [style.bold(image.disk), formatBytes(image.size), image.point, image.name]),
      style,
    );
  }
  for (const name of files) yield `  ${printable(name)}`;
}
