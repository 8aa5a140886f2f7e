import type { Command } from 'commander';
import { printable } from '../../errors.js';
import type { RecoverResult } from '../../operations/guest/recover.js';
import { withCommonOptions } from '../command-options.js';
import type { View } from '../display/view.js';
import {
  type HypervisorOptions,
  hypervisorOptions,
  SOURCE_HELP,
  withHypervisor,
} from '../hypervisor-options.js';
import { type CommonOptions, runCommand } from '../run-command.js';

const EXAMPLES = [
  'recover libvirt:web1',
  'recover libvirt:web1 --repo /backup',
  'recover vda=image:vda.qcow2 vdb=image:vdb.qcow2 --repo /backup --name web1',
  'recover qmp:/run/qemu/web1.qmp --repo /backup --name web1 --force',
];

interface Options extends CommonOptions, HypervisorOptions {
  readonly repo?: string;
  readonly name?: string;
  readonly force?: boolean;
}

export function addRecoverCommand(program: Command): void {
  const command = program
    .command('recover')
    .description(
      'end what dead runs and abandoned sessions left at a guest; whatever is alive or foreign stays',
    )
    .argument('<source...>', `${SOURCE_HELP}: [DISK=]image:PATH for each`)
    .option('--repo <folder>', 'where its points are: they tell which checkpoints count')
    .option('--name <machine>', "its name there (default: the hypervisor's)")
    .option(
      '--force',
      'also sessions that have not expired, and jobs of nbdelta that nothing is remembered of',
    );
  withHypervisor(command)
    .option('--scratch <folder>', 'where the scratch files are (default: /var/tmp)')
    .option('--socket-dir <folder>', 'where private folders for NBD sockets are made');
  withCommonOptions(command, EXAMPLES).action((sources: string[], options: Options) =>
    runCommand(options, async context => {
      const { recover } = await import('../../operations/guest/recover.js');
      const { splitDiskArgument } = await import('../arguments/disk-arguments.js');
      const { repo, name, force } = options;
      const source = sources.map(text => {
        const { name: disk, uri } = splitDiskArgument(text);
        return disk === undefined ? uri : { disk, source: uri };
      });
      const result = await recover({
        ...hypervisorOptions(options),
        ...{ source, repository: repo, machine: name, force },
      });
      await context.print({ json: () => result, text: view => formatRecovery(result, view) });
      return undefined;
    }),
  );
}

function* formatRecovery({ guest, actions }: RecoverResult, { style }: View): Generator<string> {
  const done = actions.filter(({ what }) => what !== 'left');
  const left = actions.filter(({ what }) => what === 'left');
  if (done.length === 0) yield `${printable(guest)}: nothing was to be put right`;
  for (const { text } of done) yield `${style.green('done')}  ${printable(text)}`;
  for (const { text } of left) yield `${style.yellow('left')}  ${printable(text)}`;
}
