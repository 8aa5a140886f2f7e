import type { Command } from 'commander';
import type { DiskDifference, PointsDifference } from '../../operations/diff.js';
import { withCommonOptions, withRepository } from '../command-options.js';
import { formatDiskPicture, pictureCells } from '../display/disk-picture.js';
import { formatExtents } from '../display/extent-table.js';
import { formatBytes, formatCount, formatShare, formatSize } from '../display/format.js';
import { formatCard } from '../display/table.js';
import type { View } from '../display/view.js';
import { type CommonOptions, runCommand } from '../run-command.js';

const EXAMPLES = [
  'diff web1@2026-11-21 web1@2026-11-22 --repo /backup',
  'diff web1@2026-11-21 web1 --disk vda --content     # reads both, tells only what really differs',
  'diff web1@2026-11-21 web1 --json | jq .disks[].totals',
];

interface Options extends CommonOptions {
  readonly repo: string;
  readonly disk?: string;
  readonly content?: boolean;
  readonly all?: boolean;
}

export function addDiffCommand(program: Command): void {
  const command = program
    .command('diff')
    .description('show what changed between two points of a machine')
    .argument('<from>', 'MACHINE@POINT, the older one')
    .argument('<to>', 'MACHINE[@POINT], the newer one')
    .option('--disk <disk>', 'only this disk')
    .option('--content', 'read what may differ and compare it; without, the indexes alone tell')
    .option('--all', 'all extents, not only the first and the last');
  withRepository(command);
  withCommonOptions(command, EXAMPLES).action((from: string, to: string, options: Options) =>
    runCommand(options, async context => {
      const { diffPoints } = await import('../../operations/diff.js');
      const { repo, disk, content, all } = options;
      const difference = await diffPoints({
        ...{ repository: repo, from, to, disk, content },
        signal: context.signal,
        onProgress: context.onProgress,
      });
      await context.print({
        text: view => formatDifference(difference, all === true, view),
        json: () => ({
          ...difference,
          disks: difference.disks.map(each => ({ ...summary(each), extents: [...each.extents()] })),
        }),
        jsonPieces: () => differenceDocument(difference),
      });
      return undefined;
    }),
  );
}

function summary({ disk, sizes, totals, count }: DiskDifference) {
  return { disk, sizes, totals, count };
}

/** One extent on a line: millions of them pass through without being held. */
function* differenceDocument({ disks, ...points }: PointsDifference): Generator<string, void, undefined> {
  yield `${JSON.stringify(points).slice(0, -1)},"disks":[`;
  for (const [index, disk] of disks.entries()) {
    yield `${index === 0 ? '' : ','}\n${JSON.stringify(summary(disk)).slice(0, -1)},"extents":[`;
    let separator = '\n';
    for (const extent of disk.extents()) {
      yield separator + JSON.stringify(extent);
      separator = ',\n';
    }
    yield '\n]}';
  }
  yield '\n]}\n';
}

function* formatDifference(
  { machine, from, to, content, disks }: PointsDifference,
  all: boolean,
  view: View,
): Generator<string, void, undefined> {
  const how = content ? 'compared byte by byte' : 'by the indexes: what was stored since';
  yield `${view.style.bold(`${machine}: ${from} to ${to}`)}, ${how}`;
  for (const disk of disks) {
    yield '';
    yield* formatDisk(disk, all, view);
  }
}

function* formatDisk(
  difference: DiskDifference,
  all: boolean,
  view: View,
): Generator<string, void, undefined> {
  const { disk, sizes, totals, count } = difference;
  yield view.style.bold(disk);
  if (sizes.from === null || sizes.to === null) {
    yield `  only in the ${sizes.from === null ? 'newer' : 'older'} point (${formatBytes(sizes.from ?? sizes.to ?? 0)})`;
    return;
  }
  if (count > 0) {
    yield* formatExtents(difference.extents(), count, all, view.style);
    yield '';
  }
  const cells = count > 0 ? pictureCells(sizes.to, view.columns) : 0;
  if (cells > 0) {
    yield* formatDiskPicture(difference.picture(cells), sizes.to, view);
    yield '';
  }
  const size = sizes.to;
  const total = (bytes: number) => `${formatBytes(bytes)} (${formatShare(bytes, size)})`;
  const entries = [
    ['size', sizes.from === size ? formatSize(size) : `${formatSize(size)}, was ${formatSize(sizes.from)}`],
    ['extents', formatCount(count)],
    ['data', total(totals.data)],
    ['zero', total(totals.zero)],
    ['unchanged', total(totals.unchanged)],
  ] as const;
  yield* formatCard(entries, view.style);
}
