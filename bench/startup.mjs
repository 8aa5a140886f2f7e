/**
 * How long a command takes that has nothing to do: node alone beside it, in turn, so that what else the machine does
 * hits both. A ratio to node's own start compares across machines; the limits are for an idle one.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { hasProgram } from '../test/run/setup.mjs';
import { median } from './contest.mjs';
import { serveImage } from './qemu-export.mjs';
import { say } from './report.mjs';
import { openScratch } from './scratch.mjs';
import { runTimed } from './timed-command.mjs';

const RUNS = 9;
const LIMITS = { start: 0.12, nothing: 0.7 };
const program = fileURLToPath(new URL('../bin/nbdelta.js', import.meta.url));
const scratch = openScratch(process.env['TMPDIR'] ?? '/tmp');
const repository = ['--repo', scratch.path('repository')];

const nbdelta = (...args) => [process.execPath, program, ...args];
const milliseconds = value => `${Math.round(value * 1000)} ms`;

async function measure(name, command, limit) {
  const samples = { node: [], command: [], cpu: [] };
  for (let run = 0; run < RUNS; run++) {
    samples.node.push((await runTimed(scratch, [[process.execPath, '-e', '0']])).wall);
    const { wall, cpu } = await runTimed(scratch, [command]);
    samples.command.push(wall);
    samples.cpu.push(cpu);
  }
  const [node, wall, cpu] = [samples.node, samples.command, samples.cpu].map(median);
  const verdict = wall <= limit ? 'met' : 'NOT MET';
  const cells = [milliseconds(wall), milliseconds(cpu), milliseconds(node), `${(wall / node).toFixed(1)}×`];
  say(
    `  ${name.padEnd(42)}${cells.map(cell => cell.padStart(9)).join('')}   at most ${milliseconds(limit)}: ${verdict}`,
  );
  return wall <= limit;
}

function qemuImg(...args) {
  const { status, stderr } = spawnSync('qemu-img', args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`qemu-img ${args[0]}: ${stderr.trim()}`);
}

/** Incrementals of an empty disk of 1 TiB, each on the one before. */
async function measureNothing() {
  qemuImg('create', '-q', '-f', 'qcow2', scratch.path('empty.qcow2'), '1T');
  qemuImg('bitmap', '--add', scratch.path('empty.qcow2'), 'b0');
  const served = await serveImage(scratch, 'empty.qcow2', 'qcow2', ['-r', '-B', 'b0']);
  const backup = level =>
    nbdelta('backup', `vda=${served.uri}`, ...repository, '--name', 'bench', '--level', level, '--quiet');
  await runTimed(scratch, [backup('full')]);
  const incremental = [...backup('incremental'), '--bitmap', 'b0', '--since', 'latest'];
  const met = await measure('an incremental of nothing, 1 TiB', incremental, LIMITS.nothing);
  await served.stop();
  return met;
}

say(`medians of ${RUNS} runs`);
say(
  `  ${'start to end'.padEnd(42)}${['wall', 'user+sys', 'node', 'ratio'].map(head => head.padStart(9)).join('')}`,
);
spawnSync(process.execPath, [program, 'init', ...repository]);
const met = [
  await measure('nbdelta --version', nbdelta('--version'), LIMITS.start),
  await measure('nbdelta backup --help', nbdelta('backup', '--help'), LIMITS.start),
  await measure('nbdelta list, no machines', nbdelta('list', ...repository), LIMITS.start),
];
if (hasProgram('qemu-nbd') && hasProgram('qemu-img')) met.push(await measureNothing());
else say('  qemu-nbd or qemu-img is missing: no incremental of nothing');
process.exit(met.every(Boolean) ? 0 : 1);
