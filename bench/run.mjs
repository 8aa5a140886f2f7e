/**
 * `npm run bench`: nbdelta beside the programs that do the same work, as whole processes, in rounds on the same machine
 * at the same time. What is expected is printed beside each figure; the exit code is 0 regardless.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { hasProgram } from '../test/run/setup.mjs';
import { makeDisk } from './disk-image.mjs';
import { measureCodec } from './limits.mjs';
import { describeMachine, roomIn } from './machine.mjs';
import { ALONE, readOptions } from './options.mjs';
import { say } from './report.mjs';
import { openResults, writeResults } from './results-folder.mjs';
import { openScratch } from './scratch.mjs';
import { compareDisks } from './suites/disks.mjs';
import { compareFull } from './suites/full.mjs';
import { compareIncremental } from './suites/incremental.mjs';
import { compareLibvirt } from './suites/libvirt.mjs';
import { compareRead } from './suites/read.mjs';
import { compareRestore } from './suites/restore.mjs';
import { compareServe } from './suites/serve.mjs';
import { measureStages } from './suites/stages.mjs';
import { compareUpkeep } from './suites/upkeep.mjs';
import { canMeasure } from './timed-command.mjs';

const GIB = 2 ** 30;
/** What a run needs in the folder at its highest, as a share of the disk: half of it is data. */
const ROOM_FACTOR = 3;
const SIZES = [4, 2, 1, 0.5];

const COMPARISONS = {
  stages: measureStages,
  read: compareRead,
  full: compareFull,
  incremental: compareIncremental,
  restore: compareRestore,
  serve: compareServe,
  upkeep: compareUpkeep,
  disks: compareDisks,
  libvirt: compareLibvirt,
};

/** Bytes of the disk; undefined, with a line that says why, when not even the smallest fits. */
function chooseSize({ dir, sizeGib }) {
  const room = roomIn(dir);
  const free = `only ${(room / GIB).toFixed(1)} GiB are free in ${dir}`;
  const fits = (sizeGib === undefined ? SIZES : [sizeGib]).find(gib => gib * GIB * ROOM_FACTOR <= room);
  if (fits === undefined) {
    const least = sizeGib ?? SIZES.at(-1);
    say(`${free}: a disk of ${least} GiB needs ${least * ROOM_FACTOR} GiB, so what needs a disk is left out`);
    return undefined;
  }
  if (sizeGib === undefined && fits < SIZES[0]) say(`${free}: a disk of ${fits} GiB instead of ${SIZES[0]}`);
  return fits * GIB;
}

function runScript(script) {
  const path = fileURLToPath(new URL(script, import.meta.url));
  const { stdout, stderr } = spawnSync(process.execPath, [path], { encoding: 'utf8' });
  if (stdout === '') throw new Error(`${script}: ${stderr.trim()}`);
  return stdout.trim();
}

function sayBaseline(scratch) {
  const { bytes, stored, seal, open } = measureCodec(scratch);
  const speed = seconds => Math.round(bytes / 2 ** 20 / seconds);
  const share = Math.round((stored / bytes) * 100);
  return `CPU baseline: a thread seals ${speed(seal)} MiB/s (zero test, BLAKE3, zstd -1; to ${share} %) and opens ${speed(open)} MiB/s`;
}

function sayMissing() {
  if (!hasProgram('qemu-nbd'))
    say('qemu-nbd is missing (Debian: qemu-utils): what needs an export is left out');
  if (!canMeasure) say('GNU time is missing (Debian: apt-get install time): no CPU time, no memory');
}

/** Runs the comparisons that need a disk; one that fails is said, and the others run. */
async function compareOnDisk(options, run, save) {
  const size = chooseSize(options);
  if (size === undefined) return;
  const scratch = openScratch(options.dir);
  const bytes = makeDisk(scratch.path('disk.raw'), size);
  const data = `disk of ${size / GIB} GiB with ${(bytes / GIB).toFixed(2)} GiB of data in ${options.dir}`;
  run.about = `${data}; medians of ${options.runs} rounds; a ratio is the other's wall time divided by ours`;
  run.machine.push(sayBaseline(scratch));
  say(run.machine.at(-1));
  say(run.about);
  const bench = { scratch, size, bytes, runs: options.runs, results: run.comparisons, others: run.others };
  for (const [name, compare] of Object.entries(COMPARISONS)) {
    if (!options.suites.includes(name)) continue;
    try {
      await compare(bench);
    } catch (error) {
      say(`\n${name}: ended early, ${error.message}`);
    }
    save();
  }
}

const options = readOptions(process.argv.slice(2));
const run = { machine: describeMachine(), about: '', comparisons: [], others: [] };
for (const line of run.machine) say(line);
sayMissing();
const folder = await openResults(options.results);
const save = () => writeResults(folder, run);
const needsDisk = options.suites.some(name => !ALONE.includes(name));
if (needsDisk && hasProgram('qemu-nbd')) await compareOnDisk(options, run, save);
for (const name of ALONE.filter(each => options.suites.includes(each))) {
  try {
    const text = runScript(`${name}.mjs`);
    say(`\n${text}`);
    run.others.push({ name, lines: text.split('\n') });
  } catch (error) {
    say(`\n${name}: ended early, ${error.message}`);
  }
  save();
}
if (folder && run.comparisons.length + run.others.length > 0)
  say(`\nresults.json, table.md and plot.svg are in ${folder}`);
process.exit(0);
