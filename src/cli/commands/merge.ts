import { type Command, Option } from 'commander';
import { printable } from '../../errors.js';
import type { MergeResult } from '../../operations/merge/merge.js';
import { withCommonOptions, withRepository } from '../command-options.js';
import { formatBytes, formatDuration, formatPlural, formatRate } from '../display/format.js';
import type { View } from '../display/view.js';
import { type CommonOptions, runCommand } from '../run-command.js';

const EXAMPLES = [
  'merge web1 --from 2026-11-01 --to 2026-11-07 --repo /backup   # a week becomes one point',
  'merge web1 --from 20261101T020000Z-1a2b3c4d                   # up to the newest point',
  'merge web1 --into full                                        # a synthetic full of the newest point',
];

interface Options extends CommonOptions {
  readonly repo: string;
  readonly from?: string;
  readonly to?: string;
  readonly into?: 'full';
}

export function addMergeCommand(program: Command): void {
  const command = program
    .command('merge')
    .description('make one point of several that follow one another; offline, without recompression')
    .argument('<machine>', 'the machine')
    .option('--from <point>', 'the oldest point to merge: an id or its beginning, or a time')
    .option('--to <point>', 'the newest point to merge; the merged point stands for it (default: latest)')
    .addOption(
      new Option('--into <level>', 'the merged point begins a chain, with all that came before it').choices([
        'full',
      ]),
    );
  withRepository(command);
  withCommonOptions(command, EXAMPLES).action((machine: string, options: Options) =>
    runCommand(options, async context => {
      const { merge } = await import('../../operations/merge/merge.js');
      const { repo, from, to, into } = options;
      const result = await merge({
        ...{ repository: repo, machine, from, to, into },
        signal: context.signal,
        onProgress: context.onProgress,
      });
      await context.print({ json: () => result, text: view => formatMerge(result, view) });
      return undefined;
    }),
  );
}

function* formatMerge(result: MergeResult, { style }: View): Generator<string> {
  const { machine, point, replaced, staying, held, warnings, elapsedMs } = result;
  yield `merged ${formatPlural(replaced.length, 'point')} into ${style.bold(`${machine}@${point.id}`)}, ${point.level}`;
  for (const { id, why } of staying) yield `note: point ${id} stays: ${why}`;
  for (const { id, readers } of held) {
    yield `note: the files of point ${id} stay until nobody reads them: ${readers.map(describeReader).join(', ')}`;
  }
  for (const { text } of warnings) yield style.yellow(`warning: ${printable(text)}`);
  const copied = `${formatPlural(result.copiedFrames, 'frame')} copied (${formatBytes(result.copiedBytes)})`;
  const packed = `${formatPlural(result.repackedFrames, 'frame')} packed anew (${formatBytes(result.repackedBytes)})`;
  yield `${copied}, ${packed}, ${formatDuration(elapsedMs)}, ${formatRate(result.copiedBytes, elapsedMs)}`;
}

function describeReader({ path, record }: MergeResult['held'][number]['readers'][number]): string {
  if (record === null) return printable(path);
  return printable(
    `${record.operation} (host ${record.host}, pid ${record.pid}, since ${record.created}; ${path})`,
  );
}
