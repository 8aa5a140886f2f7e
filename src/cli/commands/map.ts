import type { Command } from 'commander';
import { printable } from '../../errors.js';
import type { ExportMap } from '../../operations/map-export.js';
import { secondsAsMs } from '../arguments/numbers.js';
import { withCommonOptions } from '../command-options.js';
import { formatDiskPicture, pictureCells } from '../display/disk-picture.js';
import { formatExtents } from '../display/extent-table.js';
import { formatBytes, formatCount, formatShare, formatSize } from '../display/format.js';
import { formatCard } from '../display/table.js';
import type { View } from '../display/view.js';
import { type CommonOptions, runCommand } from '../run-command.js';

const EXAMPLES = [
  'map nbd://host/vda',
  'map nbd://host/vda --bitmap backup-vda',
  'map nbd://host/vda --bitmap backup-vda --json | jq .totals',
];

interface Options extends CommonOptions {
  readonly bitmap?: string;
  readonly timeout?: number;
  readonly all?: boolean;
}

export function addMapCommand(program: Command): void {
  const command = program
    .command('map')
    .description('show what a backup of an export would read: extents, totals, a picture')
    .argument('<uri>', 'NBD URI of the export')
    .option('--bitmap <name>', 'only what this dirty bitmap says has changed')
    .option('--all', 'all extents, not only the first and the last')
    .option('--timeout <seconds>', 'how long the server may be silent', secondsAsMs);
  withCommonOptions(command, EXAMPLES).action((uri: string, options: Options) =>
    runCommand(options, async context => {
      const [{ mapExport }, { namedExtents }] = await Promise.all([
        import('../../operations/map-export.js'),
        import('../../operations/named-extents.js'),
      ]);
      const map = await mapExport(uri, {
        bitmap: options.bitmap,
        timeoutMs: options.timeout,
        signal: context.signal,
      });
      const extents = () => namedExtents(map);
      await context.print({
        text: view => formatMap(map, extents(), options.all === true, view),
        json: () => ({ ...mapSummary(map), extents: [...extents()] }),
        jsonPieces: () => mapDocument(map, extents()),
      });
      return undefined;
    }),
  );
}

function mapSummary({ uri, size, bitmap, totals }: ExportMap) {
  return { uri, size, bitmap, totals };
}

/** One extent on a line: millions of them pass through without being held. */
function* mapDocument(map: ExportMap, extents: Iterable<unknown>): Generator<string, void, undefined> {
  yield `${JSON.stringify(mapSummary(map)).slice(0, -1)},"extents":[`;
  let separator = '\n';
  for (const extent of extents) {
    yield separator + JSON.stringify(extent);
    separator = ',\n';
  }
  yield '\n]}\n';
}

function* formatMap(
  map: ExportMap,
  extents: Parameters<typeof formatExtents>[0],
  all: boolean,
  view: View,
): Generator<string, void, undefined> {
  const { style } = view;
  yield* formatExtents(extents, map.count, all, style);
  yield '';
  const cells = pictureCells(map.size, view.columns);
  if (cells > 0) {
    yield* formatDiskPicture(map.picture(cells), map.size, view);
    yield '';
  }
  const total = (bytes: number) => `${formatBytes(bytes)} (${formatShare(bytes, map.size)})`;
  const entries = [
    ['size', formatSize(map.size)],
    ['map of', map.bitmap === null ? 'everything (a full)' : `bitmap ${printable(map.bitmap)}`],
    ['extents', formatCount(map.count)],
    ['data', total(map.totals.data)],
    ['zero', total(map.totals.zero)],
    ['unchanged', total(map.totals.unchanged)],
  ] as const;
  yield* formatCard(entries, style);
}
