/**
 * `npm run bench`: nbdelta beside the programs that do the same work by hand, as whole processes, in pairs on the
 * same machine at the same time. What is expected is printed beside each figure; the exit code is 0 regardless.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { hasProgram } from '../test/run/setup.mjs';
import { compareFull, compareIncremental, compareRead, compareRestore, makeFull } from './comparisons.mjs';
import { makeDisk } from './disk-image.mjs';
import { describeMachine, roomIn } from './machine.mjs';
import { ALONE, readOptions } from './options.mjs';
import { say } from './report.mjs';
import { openScratch } from './scratch.mjs';
import { canMeasure } from './timed-command.mjs';

const GIB = 2 ** 30;
/** What a run needs in the folder at its highest, as a share of the disk: half of it is data. */
const ROOM_FACTOR = 2;

function chooseSize({ dir, sizeGib }) {
  if (sizeGib !== undefined) return sizeGib * GIB;
  const room = roomIn(dir);
  const fits = [4, 2, 1].find(gib => gib * GIB * ROOM_FACTOR <= room) ?? 0.5;
  if (fits < 4)
    say(`only ${(room / GIB).toFixed(1)} GiB are free in ${dir}: a disk of ${fits} GiB instead of 4`);
  return fits * GIB;
}

function runScript(script, ...args) {
  const path = fileURLToPath(new URL(script, import.meta.url));
  const { stdout, stderr } = spawnSync(process.execPath, [path, ...args], { encoding: 'utf8' });
  if (stdout === '') throw new Error(`${script}: ${stderr.trim()}`);
  return stdout.trim();
}

function sayBaseline(scratch) {
  const { bytes, stored, seconds } = JSON.parse(
    runScript('codec-baseline.mjs', scratch.path('disk.raw'), '512'),
  );
  const speed = Math.round(bytes / 2 ** 20 / seconds);
  say(
    `CPU baseline: one thread seals ${speed} MiB/s (zero test, BLAKE3, zstd -1; to ${Math.round((stored / bytes) * 100)} %)`,
  );
}

function sayMissing() {
  for (const program of ['nbdcopy', 'zstd', 'qemu-nbd', 'qemu-img']) {
    if (!hasProgram(program)) say(`${program} is missing: what needs it is left out`);
  }
  if (!canMeasure) say('GNU time is missing (Debian: apt-get install time): no CPU time, no memory');
}

async function runComparisons(bench, wants) {
  if (!hasProgram('qemu-nbd')) return;
  if (wants('read')) await compareRead(bench);
  if (wants('full')) await compareFull(bench);
  else if (wants('incremental') || wants('restore')) await makeFull(bench);
  const hasChain = wants('incremental') && hasProgram('qemu-img');
  if (hasChain) await compareIncremental(bench);
  if (wants('restore')) await compareRestore(bench, hasChain);
}

const options = readOptions(process.argv.slice(2));
const wants = name => options.suites.includes(name);
for (const line of describeMachine()) say(line);
sayMissing();
if (options.suites.some(name => !ALONE.includes(name))) {
  const size = chooseSize(options);
  const scratch = openScratch(options.dir);
  const started = performance.now();
  const bytes = makeDisk(scratch.path('disk.raw'), size);
  const took = ((performance.now() - started) / 1000).toFixed(1);
  say(
    `disk of ${size / GIB} GiB with ${(bytes / GIB).toFixed(2)} GiB of data in ${options.dir}, made in ${took} s`,
  );
  say(`medians of ${options.runs} paired runs; a ratio is the other's wall time divided by ours`);
  if (wants('codec')) sayBaseline(scratch);
  await runComparisons({ scratch, size, bytes, runs: options.runs }, wants);
}
for (const name of ALONE.filter(wants)) say(`\n${runScript(`${name}.mjs`)}`);
process.exit(0);
