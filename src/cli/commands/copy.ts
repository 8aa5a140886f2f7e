import type { Command } from 'commander';
import { printable } from '../../errors.js';
import type { CopyResult } from '../../operations/copy/copy.js';
import { withCommonOptions, withRepository } from '../command-options.js';
import { formatBytes, formatDuration, formatPlural, formatRate } from '../display/format.js';
import type { View } from '../display/view.js';
import { type CommonOptions, runCommand } from '../run-command.js';

const EXAMPLES = [
  'copy web1 --to /mnt/offsite --repo /backup              # every point that is not there yet',
  'copy web1@2026-11-22 --to /mnt/offsite --repo /backup   # one point, with all that it builds on',
];

interface Options extends CommonOptions {
  readonly repo: string;
  readonly to: string;
}

export function addCopyCommand(program: Command): void {
  const command = program
    .command('copy')
    .description('copy points to another repository, as they are; a second run goes on')
    .argument('<point>', 'MACHINE: all its points; MACHINE@POINT: that one and what it builds on')
    .requiredOption('--to <folder>', 'the other repository; it is made when there is none');
  withRepository(command);
  withCommonOptions(command, EXAMPLES).action((point: string, options: Options) =>
    runCommand(options, async context => {
      const { copy } = await import('../../operations/copy/copy.js');
      const result = await copy({
        ...{ repository: options.repo, point, to: options.to },
        signal: context.signal,
        onProgress: context.onProgress,
        onPoint: (id, index, count) => context.note(`point ${index + 1} of ${count}: ${id}`),
      });
      await context.print({ json: () => result, text: view => formatCopy(result, view) });
      return undefined;
    }),
  );
}

function* formatCopy(
  { machine, copied, present, bytes, warnings, elapsedMs }: CopyResult,
  view: View,
): Generator<string> {
  for (const id of copied) yield `copied ${view.style.bold(`${machine}@${id}`)}`;
  for (const { text } of warnings) yield view.style.yellow(`warning: ${printable(text)}`);
  const there = present.length === 0 ? '' : `, ${present.length} were there`;
  yield `${formatPlural(copied.length, 'point')} copied${there}: ${formatBytes(bytes)} in ${formatDuration(elapsedMs)}, ${formatRate(bytes, elapsedMs)}`;
}
