/** What several comparisons work on, made once, by whoever needs it first: repositories, and images with bitmaps. */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { connectNbd } from '#nbdelta/nbd/client/client.js';
import { runBackup, runZstdPipe } from './contenders.mjs';
import { makeDisk, openNoise, openRandom, openText } from './disk-image.mjs';
import { serveImage } from './qemu-export.mjs';

export const BLOCK = 1 << 16;
/** Blocks that change for the incremental, 200 MiB of them. */
export const CHANGED = 3200;

/** Runs a program that must work. */
export function run(program, ...args) {
  const { status, stderr, error } = spawnSync(program, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${program} ${args[0]}: ${error?.message ?? stderr.trim()}`);
}

/** Bytes of a file, or of all files in a folder. */
export function bytesOf(path) {
  if (!statSync(path).isDirectory()) return statSync(path).size;
  return readdirSync(path).reduce((sum, name) => sum + bytesOf(join(path, name)), 0);
}

/** The repository `full`: the disk as it was made. */
export async function fullRepository({ scratch }) {
  if (existsSync(scratch.path('full'))) return;
  const served = await serveImage(scratch, 'disk.raw', 'raw', ['-r']);
  await runBackup(scratch, 'full', [`disk=${served.uri}`], ['--level', 'full']);
  await served.stop();
}

/** The file `full.zst`: the same, by hand. */
export async function fullZst({ scratch }) {
  if (existsSync(scratch.path('full.zst'))) return;
  const served = await serveImage(scratch, 'disk.raw', 'raw', ['-r']);
  await runZstdPipe(scratch, served.uri, 'full.zst');
  await served.stop();
}

/**
 * A copy of a repository whose volumes are hard links: committed files never change. What was there is gone.
 */
export function linkRepository(scratch, from, to) {
  scratch.remove(to);
  mkdirSync(scratch.path(to));
  const { status } = spawnSync('cp', ['-al', `${scratch.path(from)}/.`, scratch.path(to)]);
  if (status !== 0) cpSync(scratch.path(from), scratch.path(to), { recursive: true });
}

/** Distinct block numbers below `count`, no two of them neighbours. */
function scatteredBlocks(count, blocks, seed) {
  const next = openRandom(seed);
  const stride = Math.floor(count / blocks);
  return Array.from({ length: blocks }, (_, index) => index * stride + (next() % (stride - 1)));
}

/** An overlay of the disk, qcow2, which records in bitmap `b0` what is written from now on. */
export function makeOverlay(scratch, overlay) {
  const path = scratch.path(overlay);
  run('qemu-img', 'create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', scratch.path('disk.raw'), path);
  run('qemu-img', 'bitmap', '--add', path, 'b0');
}

/** Writes scattered blocks, half noise and half text, into images of the same size. `images`: name and format. */
export async function writeBlocks({ scratch, size }, images, blocks, seed) {
  const numbers = scatteredBlocks(size / BLOCK, blocks, seed);
  const [noise, text] = [openNoise(seed), openText(seed)];
  const contents = numbers.map((_, index) => (index % 2 ? noise(BLOCK) : text(BLOCK)));
  for (const [image, format] of images) {
    const served = await serveImage(scratch, image, format, []);
    const client = await connectNbd(served.uri);
    await Promise.all(numbers.map((number, index) => client.write(number * BLOCK, contents[index])));
    await client.flush();
    await client.close();
    await served.stop();
  }
}

/** `overlay.qcow2` with {@link CHANGED} blocks in bitmap `b0`, and `changed.raw`, which has nothing but those blocks. */
export async function changedOverlay(bench) {
  const { scratch, size } = bench;
  if (existsSync(scratch.path('overlay.qcow2'))) return;
  makeOverlay(scratch, 'overlay.qcow2');
  run('truncate', '-s', String(size), scratch.path('changed.raw'));
  await writeBlocks(
    bench,
    [
      ['overlay.qcow2', 'qcow2'],
      ['changed.raw', 'raw'],
    ],
    CHANGED,
    7,
  );
}

/** The repository `chain`: the full and the incremental of {@link changedOverlay}; and by hand `chain.zst`, the whole. */
export async function chainRepository(bench) {
  const { scratch } = bench;
  if (existsSync(scratch.path('chain'))) return;
  await fullRepository(bench);
  await changedOverlay(bench);
  const served = await serveImage(scratch, 'overlay.qcow2', 'qcow2', ['-r', '-B', 'b0']);
  linkRepository(scratch, 'full', 'chain');
  await runBackup(
    scratch,
    'chain',
    [`disk=${served.uri}`],
    [...['--level', 'incremental', '--bitmap', 'b0', '--since', 'latest']],
  );
  await served.stop();
}

/** Points of the repository `long`, and blocks that change between two of them. */
export const LONG = { points: 100, half: 50, blocks: 64 };

/**
 * The repository `long`: a full and 99 incrementals on it. Beside it the repository `flat`: a full of what the disk
 * held at point 50; and `long.points`, the ids in order.
 */
export async function longRepository(bench) {
  const { scratch } = bench;
  if (existsSync(scratch.path('long'))) return;
  const { backup, listPoints } = await import('#nbdelta/index.js');
  await fullRepository(bench);
  linkRepository(scratch, 'full', 'long');
  const image = 'long.qcow2';
  makeOverlay(scratch, image);
  const store = async (repository, level) => {
    const served = await serveImage(scratch, image, 'qcow2', ['-r', '-B', 'b0']);
    const disk = { name: 'disk', uri: served.uri, ...(level === 'incremental' && { bitmap: 'b0' }) };
    const since = level === 'incremental' ? { since: 'latest' } : {};
    await backup({ repository: scratch.path(repository), machine: 'bench', level, disks: [disk], ...since });
    await served.stop();
  };
  for (let point = 2; point <= LONG.points; point++) {
    await writeBlocks(bench, [[image, 'qcow2']], LONG.blocks, point);
    await store('long', 'incremental');
    run('qemu-img', 'bitmap', '--clear', scratch.path(image), 'b0');
    if (point === LONG.half) await store('flat', 'full');
  }
  const [machine] = await listPoints({ repository: scratch.path('long') });
  bench.longPoints = machine.points.map(point => point.id);
  scratch.remove(image);
}

/** Eight disks `small0.raw` to `small7.raw`, together as large as the disk, with as much data. */
export function smallDisks({ scratch, size }) {
  return Array.from({ length: 8 }, (_, index) => {
    const name = `small${index}.raw`;
    makeDisk(scratch.path(name), size / 8, 0x6e626431 + index);
    return name;
  });
}
