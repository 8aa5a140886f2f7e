import type { Command } from 'commander';
import { printable } from '../../errors.js';
import type { PinResult } from '../../operations/pin.js';
import { POINT_HELP, withCommonOptions, withRepository } from '../command-options.js';
import { type CommonOptions, runCommand } from '../run-command.js';

interface Options extends CommonOptions {
  readonly repo: string;
  readonly note?: string;
}

/** `pin` and `unpin`. */
export function addPinCommands(program: Command): void {
  const pin = program
    .command('pin')
    .description('keep a recovery point, whatever policy `prune` is given')
    .argument('<point>', POINT_HELP);
  withRepository(pin).option('--note <text>', 'why; in place of an earlier note');
  const examples = ['pin web1@2026-11-22 --repo /backup --note "before the upgrade"'];
  withCommonOptions(pin, examples).action((point: string, options: Options) =>
    runCommand(options, async context => {
      const operations = await import('../../operations/pin.js');
      const result = await operations.pin({ repository: options.repo, point, note: options.note });
      await context.print({ json: () => result, text: () => [describePinned(result)] });
      return undefined;
    }),
  );
  const unpin = program
    .command('unpin')
    .description('give a pinned recovery point back to `prune`')
    .argument('<point>', POINT_HELP);
  withRepository(unpin);
  withCommonOptions(unpin, ['unpin web1@2026-11-22 --repo /backup']).action(
    (point: string, options: Options) =>
      runCommand(options, async context => {
        const operations = await import('../../operations/pin.js');
        const result = await operations.unpin({ repository: options.repo, point });
        await context.print({ json: () => result, text: () => [describeUnpinned(result)] });
        return undefined;
      }),
  );
}

function describePinned({ machine, point, pin, before }: PinResult): string {
  const note = pin?.note == null ? '' : `: ${printable(pin.note)}`;
  return `${machine}@${point} ${before === null ? 'is pinned' : 'was pinned already, and still is'}${note}`;
}

function describeUnpinned({ machine, point, before }: PinResult): string {
  return `${machine}@${point} ${before === null ? 'was not pinned' : 'is not pinned any more'}`;
}
