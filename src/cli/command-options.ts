import { type Command, InvalidArgumentError, Option } from 'commander';

/** Adds what every command has: `--json`, `--quiet`, and where its exit codes are written down. */
export function withCommonOptions(command: Command, examples: readonly string[]): Command {
  const lines = examples.map(example => `  $ nbdelta ${example}`).join('\n');
  return command
    .option('--json', 'print the result, or the error, as one JSON document')
    .option('-q, --quiet', 'no progress and no remarks on stderr')
    .addHelpText('after', `\nExamples:\n${lines}\n\nExit codes: docs/exit-codes.md`);
}

/** Adds `--repo`, which may come from the environment. */
export function withRepository(command: Command): Command {
  return command.addOption(
    new Option('--repo <folder>', 'the repository')
      .env('NBDELTA_REPOSITORY')
      .argParser(notEmpty)
      .makeOptionMandatory(),
  );
}

/** An empty path would be the current folder: a variable that was not set in a script must not choose that. */
function notEmpty(text: string): string {
  if (text !== '') return text;
  throw new InvalidArgumentError('it is empty; say where the repository is, or set NBDELTA_REPOSITORY');
}

/** How help explains the argument that names a point. */
export const POINT_HELP =
  'MACHINE, or MACHINE@POINT: latest (default), an id, its unique beginning, or a time in UTC such as ' +
  '2026-11-22T17:30: the newest point at or before it; a bare date is the end of that day';
