import type { Command } from 'commander';
import { printable } from '../../errors.js';
import type { ExportDescription } from '../../operations/inspect-export.js';
import { secondsAsMs } from '../arguments/numbers.js';
import { withCommonOptions } from '../command-options.js';
import { formatBytes, formatSize } from '../display/format.js';
import { formatCard } from '../display/table.js';
import type { View } from '../display/view.js';
import { type CommonOptions, runCommand } from '../run-command.js';

const BITMAP_PREFIX = 'qemu:dirty-bitmap:';

const EXAMPLES = [
  'info nbd://host/vda',
  "info 'nbd+unix:///vda?socket=/run/backup.sock' --json",
  "info 'nbds://host/vda?tls-certificates=/etc/pki/qemu'",
];

interface Options extends CommonOptions {
  readonly timeout?: number;
}

export function addInfoCommand(program: Command): void {
  const command = program
    .command('info')
    .description('show what an NBD export is and which bitmaps it has')
    .argument('<uri>', 'NBD URI of the export')
    .option('--timeout <seconds>', 'how long the server may take to answer', secondsAsMs);
  withCommonOptions(command, EXAMPLES).action((uri: string, options: Options) =>
    runCommand(options, async context => {
      const { inspectExport } = await import('../../operations/inspect-export.js');
      const info = await inspectExport(uri, { timeoutMs: options.timeout, signal: context.signal });
      await context.print({ json: () => info, text: view => formatInfo(info, view) });
      return undefined;
    }),
  );
}

function formatInfo(info: ExportDescription, { style }: View): string[] {
  const bitmaps = info.contexts.filter(name => name.startsWith(BITMAP_PREFIX));
  const others = info.contexts.filter(name => !name.startsWith(BITMAP_PREFIX));
  const card = [
    ['server', printable(info.server)],
    ['TLS', info.encrypted ? style.green('yes, verified') : 'no'],
    ['size', formatSize(info.size)],
    ['description', printable(info.description ?? '')],
    ['flags', info.flags.join(', ') || 'none'],
    ['replies', info.replies],
    ['block sizes', formatBlockSizes(info)],
    ['dirty bitmaps', bitmaps.map(name => printable(name.slice(BITMAP_PREFIX.length))).join(', ') || 'none'],
    ['contexts', others.map(printable).join(', ') || 'none'],
    ['exports', info.exports === null ? 'the server does not list them' : info.exports.map(formatExport)],
  ] as const;
  const title = info.export === '' ? '(default export)' : printable(info.export);
  return [style.bold(title), ...formatCard(card, style).map(line => `  ${line}`)];
}

function formatBlockSizes({ blockSize, blockSizeAdvertised }: ExportDescription): string {
  const { minimum, preferred, maximum } = blockSize;
  const sizes = `minimum ${formatBytes(minimum)}, preferred ${formatBytes(preferred)}, maximum ${formatBytes(maximum)}`;
  return blockSizeAdvertised ? sizes : `${sizes} (assumed: the server does not say)`;
}

function formatExport({ name, description }: { name: string; description: string }): string {
  const shown = name === '' ? '(default export)' : printable(name);
  return description === '' ? shown : `${shown}  ${printable(description)}`;
}
