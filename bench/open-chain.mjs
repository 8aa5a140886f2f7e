/**
 * Opening long chains and large disks: list the points, read and check every index, merge the maps. The repositories
 * are generated (`generated-chain.mjs`); each is opened by a process of its own. Alone (`node bench/open-chain.mjs
 * [FOLDER]`) it fails when a limit is missed.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { generateChain } from './generated-chain.mjs';
import { say } from './report.mjs';
import { openScratch } from './scratch.mjs';

const MIB = 2 ** 20;
const TIB = 2 ** 40;

/** Limits in seconds and bytes; `memory` is 160 MiB, 80 bytes a frame and 16 an extent where nothing stricter is said. */
const CASES = [
  {
    name: '400 points, 100,000 changed blocks each, anywhere on 8 TiB',
    chain: { points: 400, frames: 10_000, changes: 100_000, size: 8 * TIB },
    limits: { wall: 3, memory: 1024 * MIB },
  },
  {
    name: 'a full of 3 TiB in frames of 1 MiB, on 8 TiB',
    chain: { points: 1, frames: 3 * MIB, changes: 0, size: 8 * TIB },
    limits: { wall: 3, memory: 160 * MIB + 3 * MIB * (80 + 16) },
  },
];

const verdict = met => (met ? 'met' : 'NOT MET');
const seconds = value => `${value.toFixed(2)} s`;
const mebibytes = value => `${Math.round(value / MIB)} MiB`;

function openOnce(folder) {
  const script = fileURLToPath(new URL('open-once.mjs', import.meta.url));
  const { stdout, stderr } = spawnSync(process.execPath, [script, folder], { encoding: 'utf8' });
  if (stdout === '') throw new Error(`open-once.mjs: ${stderr.trim()}`);
  return JSON.parse(stdout);
}

function report({ name, limits }, result, generated) {
  const wall = result.list + result.open;
  const met = { wall: wall <= limits.wall, memory: result.memory <= limits.memory };
  say(`open: ${name} (generated in ${generated.toFixed(0)} s)`);
  say(`  ${result.extents} extents in ${result.frames} frames make ${result.segments} segments`);
  say(`  list ${seconds(result.list)}, open ${seconds(result.open)}; cpu ${seconds(result.cpu)}`);
  say(`  wall ${seconds(wall)}, at most ${seconds(limits.wall)}: ${verdict(met.wall)}`);
  say(`  longest wait of the event loop ${seconds(result.blocked)}`);
  say(
    `  peak memory ${mebibytes(result.memory)}, at most ${mebibytes(limits.memory)}: ${verdict(met.memory)}`,
  );
  return met.wall && met.memory;
}

async function measure(scratch, { chain, ...what }) {
  const began = performance.now();
  await generateChain(scratch.path('repository'), chain);
  const generated = (performance.now() - began) / 1000;
  const isMet = report(what, openOnce(scratch.path('repository')), generated);
  scratch.remove('repository');
  return isMet;
}

const scratch = openScratch(process.argv[2] ?? process.env['TMPDIR'] ?? '/tmp');
let isMet = true;
for (const each of CASES) isMet = (await measure(scratch, each)) && isMet;
process.exit(isMet ? 0 : 1);
