import type { Command } from 'commander';
import { sizeInBytes, wholeNumber } from '../arguments/numbers.js';
import { withCommonOptions } from '../command-options.js';
import { formatScaling, formatStages } from '../display/stage-table.js';
import { type CommonOptions, runCommand } from '../run-command.js';

const EXAMPLES = [
  'bench nbd://host/vda',
  'bench nbd://host/vda --stages',
  'bench nbd://host/vda --stages --read 4G --dir /backup --json',
];

interface Options extends CommonOptions {
  readonly stages?: boolean;
  readonly read?: number;
  readonly level?: number;
  readonly connections?: number;
  readonly dir?: string;
}

export function addBenchCommand(program: Command): void {
  const command = program
    .command('bench')
    .description('measure what a full backup of an export costs here, and what limits it; stores nothing')
    .argument('<uri>', 'NBD URI of the export; it is only read')
    .option('--stages', 'what each stage costs: negotiate, map, read, zero test, digest, compress, write')
    .option('--read <size>', 'most data that is read (default: 1G)', sizeInBytes)
    .option('--level <n>', 'zstd level, 1 to 19 (default: 1)', wholeNumber(1))
    .option('--connections <n>', 'connections to the server (default: 4)', wholeNumber(1))
    .option('--dir <folder>', 'where a file of up to 64M is written and removed (default: temporary files)');
  withCommonOptions(command, EXAMPLES).action((uri: string, options: Options) =>
    runCommand(options, async context => {
      context.whenStopped('nothing was left');
      const { measureStages } = await import('../../operations/bench/measure-stages.js');
      const measured = await measureStages({
        ...{ uri, readBytes: options.read, level: options.level, connections: options.connections },
        ...{ folder: options.dir, signal: context.signal },
      });
      await context.print({
        json: () => measured,
        text: view => [
          ...(options.stages === true ? [...formatStages(measured, view), ''] : []),
          ...formatScaling(measured, view),
        ],
      });
      return undefined;
    }),
  );
}
