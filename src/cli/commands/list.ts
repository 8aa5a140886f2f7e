import type { Command } from 'commander';
import type { MachineListing } from '../../operations/list-points.js';
import { withCommonOptions, withRepository } from '../command-options.js';
import { formatMachine } from '../display/point-list.js';
import type { View } from '../display/view.js';
import { type CommonOptions, runCommand } from '../run-command.js';

interface Options extends CommonOptions {
  readonly repo: string;
}

export function addListCommand(program: Command): void {
  const command = program
    .command('list')
    .description('list the recovery points of a machine, or of all machines')
    .argument('[machine]', 'only this machine');
  withRepository(command);
  const examples = ['list --repo /backup', "list web1 --json | jq '.machines[0].points[].id'"];
  withCommonOptions(command, examples).action((machine: string | undefined, options: Options) =>
    runCommand(options, async context => {
      const { listPoints } = await import('../../operations/list-points.js');
      const machines = await listPoints({ repository: options.repo, machine });
      await context.print({
        json: () => ({ repository: options.repo, machines }),
        text: view => formatMachines(machines, view),
      });
      return undefined;
    }),
  );
}

function* formatMachines(machines: readonly MachineListing[], view: View): Generator<string> {
  if (machines.length === 0) yield 'no machines yet';
  for (const [index, machine] of machines.entries()) {
    if (index > 0) yield '';
    yield* formatMachine(machine, view);
  }
}
