import { CommanderError } from 'commander';
import { UsageError } from '../errors.js';
import { EXIT_OK, EXIT_USAGE } from './exit-codes.js';
import { Output } from './output.js';
import { createProgram } from './program.js';
import { describeError, formatTrace, printError } from './report-error.js';

/** Commander's ways to say that it has printed what was asked for. */
const PRINTED = new Set(['commander.helpDisplayed', 'commander.version']);

/** Runs the command line. The process ends with one of the codes in `docs/exit-codes.md`. */
export async function main(argv: readonly string[] = process.argv): Promise<void> {
  process.on('uncaughtException', error => process.exit(reportEarly(error, argv)));
  try {
    await createProgram().parseAsync([...argv]);
  } catch (error) {
    process.exitCode = error instanceof CommanderError ? endOf(error, argv) : reportEarly(error, argv);
  }
}

function endOf(error: CommanderError, argv: readonly string[]): number {
  if (PRINTED.has(error.code)) return EXIT_OK;
  // No command at all: commander has shown the help, on stderr.
  if (error.code === 'commander.help') return EXIT_USAGE;
  return reportEarly(asUsageError(error), argv);
}

/** An error outside of a command's run; `--json` is looked for by hand, as nothing may have been parsed. */
function reportEarly(error: unknown, argv: readonly string[]): number {
  const document = describeError(error);
  if (process.env['NBDELTA_DEBUG']) new Output(process.stderr).line(formatTrace(error));
  if (argv.includes('--json')) new Output(process.stdout).line(JSON.stringify(document, null, 2));
  else printError(document, new Output(process.stderr));
  return document.error.exitCode;
}

function asUsageError(error: CommanderError): UsageError {
  const [first = '', ...more] = error.message.replace(/^error: /, '').split('\n');
  const suggestion = more.join(' ').replace(/^\(|\)$/g, '');
  const hint = suggestion || hintFor(error);
  return new UsageError(first.replace(/\.$/, ''), { cause: error, hint });
}

function hintFor({ code, message }: CommanderError): string {
  if (code === 'commander.missingMandatoryOptionValue' && message.includes('--repo')) {
    return 'say where the repository is, or set NBDELTA_REPOSITORY';
  }
  return 'nbdelta COMMAND --help shows how it is used, with examples';
}
