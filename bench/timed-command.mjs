/** Runs whole commands, pipelines too, and says what each took. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';

const TIME = ['/usr/bin/time', '/bin/time'].find(path => existsSync(path));

// Makes every node read all certificates of the system as it starts, for nothing here: a setting of the machine.
delete process.env.NODE_EXTRA_CA_CERTS;

/** Whether CPU time and peak memory can be measured: GNU time asks wait4() for them. */
export const canMeasure = TIME !== undefined;

function quote(text) {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** One program of a pipeline under GNU time, which writes to `report`. */
function timed(command, report) {
  const line = command.map(quote).join(' ');
  return TIME ? `${TIME} -f '%U %S %M' -o ${quote(report)} ${line}` : line;
}

function readReports(reports) {
  const sum = { cpu: 0, memory: 0 };
  if (!TIME) return { cpu: Number.NaN, memory: Number.NaN };
  for (const report of reports) {
    const [user, system, kib] = readFileSync(report, 'utf8').trim().split('\n').at(-1).split(' ').map(Number);
    sum.cpu += user + system;
    sum.memory += kib * 1024;
  }
  return sum;
}

/** Time of all cores since the machine started: all of it, and what nothing ran in. `undefined` where /proc is not. */
function readCores() {
  if (!existsSync('/proc/stat')) return undefined;
  const times = readFileSync('/proc/stat', 'utf8')
    .split('\n', 1)[0]
    .trim()
    .split(/\s+/)
    .slice(1, 9)
    .map(Number);
  return { all: times.reduce((sum, time) => sum + time, 0), idle: times[3] + times[4] };
}

/** The share of the time between two of `readCores` that something ran in; all programs of the machine count. */
function busyShare(before, after) {
  if (!before || !after || after.all === before.all) return Number.NaN;
  return 1 - (after.idle - before.idle) / (after.all - before.all);
}

function killGroup(leader) {
  try {
    process.kill(-leader, 'SIGKILL');
  } catch (error) {
    if (error.code !== 'ESRCH') throw error; // ended in the meantime
  }
}

/**
 * Runs programs as one pipeline; the last one's output goes to `output` (default: nowhere).
 * @returns wall and cpu (user + system, all programs) in seconds, memory (sum of their peaks) in bytes, and busy, the
 *   share of all cores' time that something ran in, servers included.
 * @throws when one of them fails.
 */
export async function runTimed(scratch, commands, { output = '/dev/null', env = {} } = {}) {
  const reports = commands.map((_, index) => scratch.path(`time-${index}`));
  const pipeline = commands.map((command, index) => timed(command, reports[index])).join(' | ');
  const script = `set -o pipefail; ${pipeline} > ${quote(output)}`;
  const cores = readCores();
  const started = performance.now();
  // Its own process group: Ctrl-C reaches us first, and we end the whole pipeline.
  const child = spawn('bash', ['-c', script], {
    stdio: ['ignore', 'inherit', 'pipe'],
    detached: true,
    env: { ...process.env, ...env },
  });
  scratch.own({ kill: () => killGroup(child.pid), once: (event, listener) => child.once(event, listener) });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', text => {
    said += text;
  });
  const [code] = await once(child, 'close');
  const wall = (performance.now() - started) / 1000;
  if (code !== 0) throw new Error(`\`${pipeline}\` ended with ${code}: ${said.trim()}`);
  return { wall, ...readReports(reports), busy: busyShare(cores, readCores()) };
}
