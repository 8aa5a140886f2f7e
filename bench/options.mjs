/** What `npm run bench -- …` takes. */
import { accessSync, constants, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

/** Comparisons by name, in the order in which they run. */
export const SUITES = [
  ...['stages', 'read', 'full', 'incremental', 'restore', 'serve', 'upkeep', 'disks', 'libvirt'],
  ...['change-map', 'open-chain', 'startup'],
];
/** Those that make what they measure themselves, and need no disk. */
export const ALONE = ['change-map', 'open-chain', 'startup'];

const USAGE = `npm run bench [-- options]
  --dir FOLDER      where disk, repositories and restored files go (default /dev/shm)
  --results FOLDER  where results.json, table.md and plot.svg go (default bench/results)
  --size GIB        size of the disk; half of it has data (default 4, less when memory is short)
  --runs N          rounds of each comparison (default 5)
  --only NAMES      comma-separated: ${SUITES.slice(0, 7).join(',')},
                    ${SUITES.slice(7).join(',')}
`;

function fail(line) {
  process.stderr.write(`${line}\n\n${USAGE}`);
  process.exit(2);
}

function wholeNumber(name, text) {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) fail(`--${name} ${text}: expected a whole number of at least 1`);
  return value;
}

function writableFolder(path) {
  try {
    accessSync(path, constants.W_OK);
    if (statSync(path).isDirectory()) return path;
    return fail(`--dir ${path}: not a folder`);
  } catch (error) {
    return fail(`--dir ${path}: expected a folder that can be written (${error.code})`);
  }
}

function parse(args) {
  const string = { type: 'string' };
  const options = { dir: string, results: string, size: string, runs: string, only: string };
  try {
    return parseArgs({ args, options: { ...options, help: { type: 'boolean' } } }).values;
  } catch (error) {
    return fail(error.message);
  }
}

/** Reads the command line; prints the usage and ends on anything else. `sizeGib` undefined: as much as fits. */
export function readOptions(args) {
  const values = parse(args);
  if (values.help) {
    process.stdout.write(USAGE);
    process.exit(0);
  }
  const only = values.only?.split(',') ?? SUITES;
  const unknown = only.find(name => !SUITES.includes(name));
  if (unknown !== undefined) fail(`--only ${unknown}: expected some of ${SUITES.join(',')}`);
  return {
    dir: writableFolder(values.dir ?? '/dev/shm'),
    results: values.results ?? fileURLToPath(new URL('results', import.meta.url)),
    sizeGib: values.size === undefined ? undefined : wholeNumber('size', values.size),
    runs: wholeNumber('runs', values.runs ?? '5'),
    suites: SUITES.filter(name => only.includes(name)),
  };
}
