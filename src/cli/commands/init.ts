import type { Command } from 'commander';
import { withCommonOptions, withRepository } from '../command-options.js';
import { type CommonOptions, runCommand } from '../run-command.js';

interface Options extends CommonOptions {
  readonly repo: string;
}

export function addInitCommand(program: Command): void {
  const command = program
    .command('init')
    .description('make a repository in an empty or missing folder (the first backup does it too)');
  withRepository(command);
  withCommonOptions(command, ['init --repo /backup']).action((options: Options) =>
    runCommand(options, async context => {
      const { initRepository } = await import('../../operations/open-repository.js');
      const { description } = await initRepository(options.repo);
      const { id, created } = description;
      await context.print({
        json: () => ({ repository: options.repo, id, created }),
        text: () => [`repository ${id} made in ${options.repo}`],
      });
      return undefined;
    }),
  );
}
