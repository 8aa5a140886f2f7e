import type { Command } from 'commander';
import { withCommonOptions } from '../command-options.js';
import { formatDemoEnd, formatDemoEvent } from '../demo/demo-text.js';
import { EXIT_CODES, EXIT_OK } from '../exit-codes.js';
import { type CommonOptions, runCommand } from '../run-command.js';

interface Options extends CommonOptions {
  readonly qemu?: boolean;
  readonly keep?: boolean;
}

export function addDemoCommand(program: Command): void {
  const command = program
    .command('demo')
    .description('see it work: a full, an incremental, both restored and compared, on a disk of its own')
    .option('--qemu', 'with real QEMU programs and a qcow2 bitmap (needs qemu-utils)')
    .option('--keep', 'leave the repository and the restored images for a look around');
  withCommonOptions(command, ['demo', 'demo --qemu', 'demo --keep']).action((options: Options) =>
    runCommand(options, async context => {
      const { runDemo } = await import('../../operations/demo/run-demo.js');
      const result = await runDemo({
        ...{ qemu: options.qemu, keep: options.keep },
        signal: context.signal,
        onProgress: context.onProgress,
        onEvent: event => context.tell(view => formatDemoEvent(event, view)),
      });
      await context.print({ json: () => result, text: view => formatDemoEnd(result, view) });
      return result.ok ? EXIT_OK : EXIT_CODES.DATA_DAMAGED;
    }),
  );
}
