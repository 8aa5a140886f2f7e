import type { Command } from 'commander';
import { printable } from '../../errors.js';
import type { SalvageResult } from '../../operations/salvage/salvage.js';
import { withCommonOptions } from '../command-options.js';
import { formatBytes, formatCount, formatPlural } from '../display/format.js';
import { formatCard } from '../display/table.js';
import type { View } from '../display/view.js';
import { EXIT_CODES } from '../exit-codes.js';
import { type CommonOptions, runCommand } from '../run-command.js';

/** Lost ranges that are printed; the map has all. */
const SHOWN = 20;

const EXAMPLES = [
  'salvage /backup/web1/20261122T173000Z-1a2b3c4d/vda.0001.tar --to vda.raw',
  'salvage vda.0001.tar vda.0002.tar --to vda.raw --json | jq .lost',
];

interface Options extends CommonOptions {
  readonly to: string;
  readonly force?: boolean;
}

export function addSalvageCommand(program: Command): void {
  const command = program
    .command('salvage')
    .description('get out of a torn or damaged archive what can be read, and list what is lost')
    .argument('<volume...>', 'the .tar files of one disk of one point, in order')
    .requiredOption('--to <file>', 'raw file to make; FILE.map.json says what is in it and what is not')
    .option('--force', 'replace an existing file');
  withCommonOptions(command, EXAMPLES).action((volumes: string[], options: Options) =>
    runCommand(options, async context => {
      const { salvage } = await import('../../operations/salvage/salvage.js');
      const { to, force } = options;
      const result = await salvage({
        volumes,
        to,
        force,
        signal: context.signal,
        onProgress: context.onProgress,
      });
      await context.print({ json: () => result, text: view => formatSalvage(result, to, view) });
      return result.complete ? undefined : EXIT_CODES.DATA_DAMAGED;
    }),
  );
}

function* formatSalvage(result: SalvageResult, to: string, { style }: View): Generator<string> {
  const { lost, lostBytes, unknown, unknownBytes, missingPacks, full, from, frames } = result;
  for (const { offset, length, why } of lost.slice(0, SHOWN)) {
    yield style.red(`lost: ${formatCount(offset)} + ${formatCount(length)}: ${printable(why)}`);
  }
  if (lost.length > SHOWN)
    yield style.red(`... ${formatPlural(lost.length - SHOWN, 'more lost range')}, see the map`);
  const kind = full === null ? 'unknown' : full ? 'full' : 'incremental: only what changed is in it';
  const entries: (readonly [string, string])[] = [
    ['archive', `${result.archiveId}${result.disk === null ? '' : `, disk ${printable(result.disk)}`}`],
    ['level', kind],
    ['size', formatBytes(result.size)],
    [
      'known from',
      from === 'index' ? 'its index: everything that was stored' : 'its packs: only what was found',
    ],
    ['frames', `${formatCount(frames.good)} of ${formatCount(frames.known)} known could be read`],
    ['salvaged', `${formatBytes(result.salvaged)} data, ${formatBytes(result.zero)} zero`],
    ['lost', `${formatBytes(lostBytes)} in ${formatPlural(lost.length, 'range')}`],
  ];
  if (unknown.length > 0) {
    const meaning = full ? 'lost' : 'lost, or never stored';
    entries.push([
      'unknown',
      `${formatBytes(unknownBytes)} in ${formatPlural(unknown.length, 'range')}: ${meaning}`,
    ]);
  }
  if (missingPacks.length > 0) entries.push(['packs missing', missingPacks.slice(0, SHOWN).join(', ')]);
  entries.push([
    'written to',
    `${printable(to)}; what is lost is a hole in it, see ${printable(result.map)}`,
  ]);
  yield* formatCard(entries, style);
  if (result.complete) yield style.green('everything that was stored was read');
}
