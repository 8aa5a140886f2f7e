/** Each comparison: what it needs, and how each side runs once. */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { connectNbd } from '#nbdelta/nbd/client/client.js';
import { hasProgram } from '../test/run/setup.mjs';
import { openNoise, openRandom, openText } from './disk-image.mjs';
import { comparePairs } from './pairs.mjs';
import { serveImage } from './qemu-export.mjs';
import { reportComparison } from './report.mjs';
import { runTimed } from './timed-command.mjs';

const MIB = 2 ** 20;
const BLOCK = 1 << 16;
/** Blocks that change for the incremental, 200 MiB of them. */
const CHANGED = 3200;
const MEMORY = 200 * MIB;

const pathOf = file => fileURLToPath(new URL(file, import.meta.url));
const nbdelta = (...args) => [process.execPath, pathOf('../bin/nbdelta.js'), ...args];

/** `run` when its programs are there, else undefined. */
const withPrograms = (programs, run) => (programs.every(hasProgram) ? run : undefined);

const compressed = ['zstd', '-1', '-T0', '-q'];

function makeRoom(scratch, ...names) {
  for (const name of names) scratch.remove(name);
}

/** Reading alone. */
export async function compareRead({ scratch, runs, bytes }) {
  const served = await serveImage(scratch, 'disk.raw', 'raw', ['-r']);
  const result = await comparePairs(
    runs,
    () => runTimed(scratch, [[process.execPath, pathOf('read-export.mjs'), served.uri]]),
    withPrograms(['nbdcopy'], () => runTimed(scratch, [['nbdcopy', served.uri, 'null:']])),
  );
  await served.stop();
  const labels = { ours: 'nbdelta, allocated ranges', theirs: 'nbdcopy URI null:' };
  reportComparison({ name: 'read only', bytes, labels, expect: { ratio: 1, memory: MEMORY } }, result);
}

function runBackup(scratch, repository, uri, level, more = []) {
  const where = ['--repo', scratch.path(repository), '--name', 'bench'];
  return runTimed(scratch, [
    nbdelta('backup', `disk=${uri}`, ...where, '--level', level, '--quiet', ...more),
  ]);
}

function runPipe(scratch, uri, output) {
  return runTimed(scratch, [['nbdcopy', uri, '-'], compressed], scratch.path(output));
}

/** A full; leaves the repository `full` and the pipe's `full.zst` behind. */
export async function compareFull({ scratch, runs, bytes }) {
  const served = await serveImage(scratch, 'disk.raw', 'raw', ['-r']);
  const result = await comparePairs(
    runs,
    () => {
      makeRoom(scratch, 'full');
      return runBackup(scratch, 'full', served.uri, 'full');
    },
    withPrograms(['nbdcopy', 'zstd'], () => {
      makeRoom(scratch, 'full.zst');
      return runPipe(scratch, served.uri, 'full.zst');
    }),
  );
  await served.stop();
  const labels = { ours: 'nbdelta backup, zstd:1', theirs: 'nbdcopy URI - | zstd -1 -T0' };
  reportComparison({ name: 'full backup', bytes, labels, expect: { ratio: 2, memory: MEMORY } }, result);
}

/** What later comparisons build on, when `compareFull` did not run. */
export async function makeFull({ scratch }) {
  const served = await serveImage(scratch, 'disk.raw', 'raw', ['-r']);
  await runBackup(scratch, 'full', served.uri, 'full');
  if (hasProgram('nbdcopy') && hasProgram('zstd')) await runPipe(scratch, served.uri, 'full.zst');
  await served.stop();
}

function qemuImg(...args) {
  const { status, stderr } = spawnSync('qemu-img', args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`qemu-img ${args[0]}: ${stderr.trim()}`);
}

/** Writes {@link CHANGED} scattered blocks, half noise and half text, into an overlay that records them in `b0`. */
async function makeOverlay(scratch, size) {
  const overlay = scratch.path('overlay.qcow2');
  qemuImg('create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', scratch.path('disk.raw'), overlay);
  qemuImg('bitmap', '--add', overlay, 'b0');
  const served = await serveImage(scratch, 'overlay.qcow2', 'qcow2', []);
  const client = await connectNbd(served.uri);
  const [noise, text] = [openNoise(7), openText(7)];
  for (const [index, block] of scatteredBlocks(size / BLOCK).entries()) {
    await client.write(block * BLOCK, index % 2 ? noise(BLOCK) : text(BLOCK));
  }
  await client.flush();
  await client.close();
  await served.stop();
}

/** Distinct block numbers below `count`, no two of them neighbours. */
function scatteredBlocks(count) {
  const next = openRandom(11);
  const stride = Math.floor(count / CHANGED);
  return Array.from({ length: CHANGED }, (_, index) => index * stride + (next() % (stride - 1)));
}

/** An incremental; leaves the repository `chain` (full and incremental) and the pipe's `chain.zst` behind. */
export async function compareIncremental({ scratch, runs, size }) {
  await makeOverlay(scratch, size);
  const served = await serveImage(scratch, 'overlay.qcow2', 'qcow2', ['-r', '-B', 'b0']);
  const result = await comparePairs(
    runs,
    () => {
      makeRoom(scratch, 'chain');
      copyRepository(scratch);
      return runBackup(scratch, 'chain', served.uri, 'incremental', ['--bitmap', 'b0', '--since', 'latest']);
    },
    withPrograms(['nbdcopy', 'zstd'], () => {
      makeRoom(scratch, 'chain.zst');
      return runPipe(scratch, served.uri, 'chain.zst');
    }),
  );
  await served.stop();
  const labels = { ours: 'nbdelta backup, incremental', theirs: 'nbdcopy URI - | zstd -1 -T0, the whole' };
  const what = { name: 'incremental, 200 MiB in 3,200 blocks of 64 KiB', bytes: CHANGED * BLOCK };
  reportComparison({ ...what, labels, expect: { memory: MEMORY } }, result);
}

/** A copy of the repository `full` whose volumes are hard links: committed files never change. */
function copyRepository(scratch) {
  mkdirSync(scratch.path('chain'));
  const { status } = spawnSync('cp', ['-al', `${scratch.path('full')}/.`, scratch.path('chain')]);
  if (status !== 0) cpSync(scratch.path('full'), scratch.path('chain'), { recursive: true });
}

/** Restores one repository against unpacking one file of zstd. */
async function compareOneRestore({ scratch, runs, bytes }, name, repository, file) {
  const result = await comparePairs(
    runs,
    () => {
      makeRoom(scratch, 'restored', 'unpacked');
      const where = ['--repo', scratch.path(repository), '--to', scratch.path('restored')];
      return runTimed(scratch, [nbdelta('restore', 'bench', '--disk', 'disk', ...where, '--quiet')]);
    },
    withPrograms(['nbdcopy', 'zstd'], () => {
      makeRoom(scratch, 'restored', 'unpacked');
      const unpack = ['zstd', '-dfq', '--sparse', scratch.path(file), '-o', scratch.path('unpacked')];
      return runTimed(scratch, [unpack]);
    }),
  );
  makeRoom(scratch, 'restored', 'unpacked');
  const labels = { ours: 'nbdelta restore, to raw', theirs: 'zstd -d --sparse' };
  reportComparison({ name, bytes, labels, expect: { memory: MEMORY } }, result);
}

/** Restores: of a full, and of a chain when there is one. */
export async function compareRestore(bench, hasChain) {
  await compareOneRestore(bench, 'restore, full', 'full', 'full.zst');
  if (hasChain) await compareOneRestore(bench, 'restore, full and incremental', 'chain', 'chain.zst');
}
