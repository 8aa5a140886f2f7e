import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { addBackupCommand } from './commands/backup.js';
import { addCopyCommand } from './commands/copy.js';
import { addDemoCommand } from './commands/demo.js';
import { addDiffCommand } from './commands/diff.js';
import { addDoctorCommand } from './commands/doctor.js';
import { addExportCommand } from './commands/export.js';
import { addInfoCommand } from './commands/info.js';
import { addInitCommand } from './commands/init.js';
import { addListCommand } from './commands/list.js';
import { addMapCommand } from './commands/map.js';
import { addMergeCommand } from './commands/merge.js';
import { addPinCommands } from './commands/pin.js';
import { addPruneCommand } from './commands/prune.js';
import { addRecoverCommand } from './commands/recover.js';
import { addRestoreCommand } from './commands/restore.js';
import { addSalvageCommand } from './commands/salvage.js';
import { addServeCommand } from './commands/serve.js';
import { addSessionCommand } from './commands/session.js';
import { addShowCommand } from './commands/show.js';
import { addVerifyCommand } from './commands/verify.js';
import { EXIT_CODES_HELP } from './exit-codes.js';

/** The whole command line. Operations are loaded when a command runs: help must not wait for them. */
export function createProgram(): Command {
  const program = new Command('nbdelta')
    .description('Pull changed blocks of QEMU guests over NBD, keep them as archives, restore any point.')
    .version(readVersion(), '-V, --version')
    .addHelpText('after', EXIT_CODES_HELP)
    // Commands take over both: thrown instead of exiting, and printed as all other errors are.
    .exitOverride()
    .configureOutput({ outputError: () => undefined });
  addInfoCommand(program);
  addMapCommand(program);
  addBackupCommand(program);
  addInitCommand(program);
  addListCommand(program);
  addShowCommand(program);
  addRestoreCommand(program);
  addVerifyCommand(program);
  addServeCommand(program);
  addDiffCommand(program);
  addMergeCommand(program);
  addCopyCommand(program);
  addExportCommand(program);
  addSalvageCommand(program);
  addPinCommands(program);
  addPruneCommand(program);
  addDoctorCommand(program);
  addRecoverCommand(program);
  addSessionCommand(program);
  addDemoCommand(program);
  return program;
}

function readVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  const { version } = JSON.parse(text) as { readonly version: string };
  return version;
}
