import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { EXIT_CODES_HELP } from './exit-codes.js';
import type { Output } from './output.js';

const VERSION_OPTIONS = ['-V', '--version'];

type AddCommand = (program: Command) => void;

/** What makes each command, in the order of the help. Two may share a function, which makes both. */
const COMMANDS: Readonly<Record<string, () => Promise<AddCommand>>> = {
  info: async () => (await import('./commands/info.js')).addInfoCommand,
  map: async () => (await import('./commands/map.js')).addMapCommand,
  backup: async () => (await import('./commands/backup.js')).addBackupCommand,
  init: async () => (await import('./commands/init.js')).addInitCommand,
  list: async () => (await import('./commands/list.js')).addListCommand,
  show: async () => (await import('./commands/show.js')).addShowCommand,
  restore: async () => (await import('./commands/restore.js')).addRestoreCommand,
  verify: async () => (await import('./commands/verify.js')).addVerifyCommand,
  serve: async () => (await import('./commands/serve.js')).addServeCommand,
  files: async () => (await import('./commands/files.js')).addFilesCommand,
  diff: async () => (await import('./commands/diff.js')).addDiffCommand,
  merge: async () => (await import('./commands/merge.js')).addMergeCommand,
  copy: async () => (await import('./commands/copy.js')).addCopyCommand,
  export: async () => (await import('./commands/export.js')).addExportCommand,
  salvage: async () => (await import('./commands/salvage.js')).addSalvageCommand,
  pin: async () => (await import('./commands/pin.js')).addPinCommands,
  unpin: async () => (await import('./commands/pin.js')).addPinCommands,
  prune: async () => (await import('./commands/prune.js')).addPruneCommand,
  doctor: async () => (await import('./commands/doctor.js')).addDoctorCommand,
  recover: async () => (await import('./commands/recover.js')).addRecoverCommand,
  session: async () => (await import('./commands/session.js')).addSessionCommand,
  bench: async () => (await import('./commands/bench.js')).addBenchCommand,
  demo: async () => (await import('./commands/demo.js')).addDemoCommand,
};

/**
 * The command line: of `name` alone when that is a command, else (for the help, or to tell what is wrong with the name) of all.
 * Operations are loaded when a command runs. Nobody waits for files that are not needed.
 */
export async function createProgram(name?: string, output?: Output): Promise<Command> {
  const program = new Command('nbdelta')
    .description('Pull changed blocks of QEMU guests over NBD, keep them as archives, restore any point.')
    .version(await readVersion(), VERSION_OPTIONS.join(', '))
    .addHelpText('after', EXIT_CODES_HELP)
    // Commands take over both: thrown instead of exiting, and printed as all other errors are.
    .exitOverride()
    .configureOutput({
      outputError: () => undefined,
      ...(output && { writeOut: text => output.write(text) }),
    });
  for (const add of await loadCommands(name)) add(program);
  return program;
}

async function loadCommands(name: string | undefined): Promise<ReadonlySet<AddCommand>> {
  if (name !== undefined && VERSION_OPTIONS.includes(name)) return new Set();
  const isCommand = name !== undefined && Object.hasOwn(COMMANDS, name);
  const loads = isCommand ? [COMMANDS[name]!] : Object.values(COMMANDS);
  return new Set(await Promise.all(loads.map(load => load())));
}

async function readVersion(): Promise<string> {
  const { packageFile } = await import('../operations/package-file.js');
  const text = readFileSync(packageFile('package.json'), 'utf8');
  const { version } = JSON.parse(text) as { readonly version: string };
  return version;
}
