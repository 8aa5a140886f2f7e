/** Who takes part: our command, and peers that may be missing. */
import { fileURLToPath } from 'node:url';
import { hasProgram } from '../test/run/setup.mjs';
import { runTimed } from './timed-command.mjs';

const pathOf = file => fileURLToPath(new URL(file, import.meta.url));

/** Our command line as a program's. */
export const nbdelta = (...args) => [process.execPath, pathOf('../bin/nbdelta.js'), ...args];

/** A program of this folder. */
export const script = (file, ...args) => [process.execPath, pathOf(file), ...args];

/** A peer; missing when one of its programs is. */
export function peer(name, programs, run) {
  const absent = programs.filter(program => !hasProgram(program));
  return absent.length === 0 ? { name, run } : { name, missing: `${absent.join(' and ')} not installed` };
}

/** One run of our backup. @param repository, uri name of the folder in scratch, NBD URI. */
export function runBackup(scratch, repository, sources, more = []) {
  const where = ['--repo', scratch.path(repository), '--name', 'bench', '--quiet'];
  return runTimed(scratch, [nbdelta('backup', ...sources, ...where, ...more)]);
}

export const ZSTD_PIPE = 'nbdcopy URI - | zstd -1 -T0';

/** What one types by hand for a compressed backup. */
export function runZstdPipe(scratch, uri, output) {
  const pipe = [
    ['nbdcopy', uri, '-'],
    ['zstd', '-1', '-T0', '-q'],
  ];
  return runTimed(scratch, pipe, { output: scratch.path(output) });
}
