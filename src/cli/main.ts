import { CommanderError } from 'commander';
import { UsageError } from '../errors.js';
import { EXIT_OK, EXIT_USAGE } from './exit-codes.js';
import { Output } from './output.js';
import { createProgram } from './program.js';
import { describeError, formatTrace, printError, printJsonError } from './report-error.js';

/** Commander's ways to say that it has printed what was asked for. */
const PRINTED = new Set(['commander.helpDisplayed', 'commander.version']);

/** Runs the command line. The process ends with one of the codes in `docs/exit-codes.md`. */
export async function main(argv: readonly string[] = process.argv): Promise<void> {
  process.on('uncaughtException', error => void reportEarly(error, argv).then(code => process.exit(code)));
  const output = new Output(process.stdout);
  try {
    await (await createProgram(argv[2], output)).parseAsync([...argv]);
  } catch (error) {
    process.exitCode = await endOf(error, argv, output);
  }
}

async function endOf(error: unknown, argv: readonly string[], output: Output): Promise<number> {
  if (!(error instanceof CommanderError)) return reportEarly(error, argv);
  if (PRINTED.has(error.code)) {
    const failure = await output.flush().catch(cause => ({ cause }));
    return failure ? reportEarly(failure.cause, argv) : EXIT_OK;
  }
  // No command at all: commander has shown the help, on stderr.
  if (error.code === 'commander.help') return EXIT_USAGE;
  return reportEarly(await asUsageError((await findUnknownOption(argv)) ?? error, argv), argv);
}

/** An error outside of a command's run; `--json` is looked for by hand, as nothing may have been parsed. */
async function reportEarly(error: unknown, argv: readonly string[]): Promise<number> {
  const document = describeError(error);
  const messages = new Output(process.stderr);
  if (process.env['NBDELTA_DEBUG']) messages.line(formatTrace(error));
  if (argv.includes('--json')) await printJsonError(document, new Output(process.stdout), messages);
  else printError(document, messages);
  return document.error.exitCode;
}

/** A misspelt option is why another one is missing (`--rep R`), but commander tells the missing one first. */
async function findUnknownOption(argv: readonly string[]): Promise<CommanderError | undefined> {
  const program = (await createProgram(argv[2])).hook('preAction', () => {
    throw new CommanderError(EXIT_USAGE, 'nbdelta.parsed', 'only parsed, never run');
  });
  for (const option of program.commands.flatMap(command => command.options)) {
    option.mandatory = false;
    delete option.envVar;
  }
  try {
    program.parse([...argv]);
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.code === 'commander.unknownOption') return error;
  }
  return undefined;
}

async function asUsageError(error: CommanderError, argv: readonly string[]): Promise<UsageError> {
  const [first = '', ...more] = error.message.replace(/^error: /, '').split('\n');
  const suggestion = more.join(' ').replace(/^\(|\)$/g, '');
  const hint = suggestion.replace(/^D/, 'd') || (await hintFor(error, argv));
  return new UsageError(first.replace(/\.$/, ''), { cause: error, hint });
}

async function hintFor({ code, message }: CommanderError, argv: readonly string[]): Promise<string> {
  if (code === 'commander.missingMandatoryOptionValue' && message.includes('--repo')) {
    return 'say where the repository is, or set NBDELTA_REPOSITORY';
  }
  const { commands } = await createProgram(argv[2]);
  const name = commands.find(command => command.name() === argv[2])?.name();
  return name === undefined ? 'see: nbdelta --help' : `see: nbdelta ${name} --help`;
}
