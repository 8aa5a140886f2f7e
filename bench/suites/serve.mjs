/** Serving a point beside qemu-nbd, which serves the same content from a compressed qcow2. CPU and memory: the server's. */
import { spawnSync } from 'node:child_process';
import { connectNbd } from '#nbdelta/nbd/client/client.js';
import { hasProgram } from '../../test/run/setup.mjs';
import { peer, script } from '../contenders.mjs';
import { contest, fasterThan, memoryAtMost } from '../contest.mjs';
import { fullRepository, LONG, longRepository, run } from '../prepared.mjs';
import { serveImage } from '../qemu-export.mjs';
import { say } from '../report.mjs';
import { servePoint } from '../serve-point.mjs';
import { withUsage } from '../server-usage.mjs';
import { runTimed } from '../timed-command.mjs';

const MIB = 2 ** 20;
const BLOCK = 1 << 16;
const RANDOM = { reads: 4096, depth: 16 };
const QCOW2 = 'qemu-nbd of a qcow2 with zstd';

async function compareSequential(bench, ours, theirs) {
  const { scratch, bytes } = bench;
  const copy = ({ uri, pid }) => withUsage(pid, () => runTimed(scratch, [['nbdcopy', uri, 'null:']]));
  await contest(bench, {
    suite: 'serve',
    name: 'serve, read from end to end by nbdcopy',
    bytes,
    contenders: [
      peer('nbdelta serve', ['nbdcopy'], () => copy(ours)),
      peer(QCOW2, ['nbdcopy', 'qemu-img'], () => copy(theirs)),
    ],
    targets: [fasterThan(1, 'as fast as qemu-nbd', 1)],
  });
}

function readAtRandom({ uri, pid }) {
  return withUsage(pid, () => {
    const [program, ...args] = script('random-read.mjs', uri, String(RANDOM.reads), String(RANDOM.depth));
    const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' });
    if (status !== 0) throw new Error(`random-read.mjs: ${stderr.trim()}`);
    return { wall: Number(stdout) };
  });
}

async function compareRandom(bench, ours, theirs) {
  await contest(bench, {
    suite: 'serve',
    name: 'serve, 64 KiB at random, 16 at a time',
    bytes: RANDOM.reads * BLOCK,
    contenders: [
      { name: 'nbdelta serve', run: () => readAtRandom(ours) },
      peer(QCOW2, ['qemu-img'], () => readAtRandom(theirs)),
    ],
    targets: [fasterThan(1, 'as fast as qemu-nbd', 1), memoryAtMost(161 * MIB)],
  });
}

/** From the start of the command to the first bytes that a client has. */
async function firstByte(bench, open) {
  const { scratch } = bench;
  const started = performance.now();
  const served = await open();
  const client = await connectNbd(served.uri);
  await client.readInto(0, new Uint8Array(BLOCK));
  const wall = (performance.now() - started) / 1000;
  await client.close();
  const sample = await withUsage(served.pid, async () => ({ wall }));
  await served.stop();
  scratch.remove('first.sock');
  return { ...sample, cpu: Number.NaN };
}

async function compareFirstByte(bench) {
  const { scratch } = bench;
  await longRepository(bench);
  await contest(bench, {
    suite: 'serve',
    name: `serve a chain of ${LONG.points}: start to first byte`,
    bytes: 0,
    contenders: [
      {
        name: 'nbdelta serve',
        run: () => firstByte(bench, () => servePoint(scratch, 'long', 'bench', 'first')),
      },
      {
        name: 'the limit: node that does nothing',
        run: () => runTimed(scratch, [[process.execPath, '-e', '0']]),
      },
    ],
    targets: [{ what: 'first byte', unit: 's', atMost: 0.05, of: ({ contenders }) => contenders[0].wall }],
  });
}

export async function compareServe(bench) {
  const { scratch } = bench;
  if (!hasProgram('qemu-img')) {
    say('\nserve: left out, qemu-img not installed');
    return;
  }
  await fullRepository(bench);
  const options = ['-c', '-f', 'raw', '-O', 'qcow2', '-o', 'compression_type=zstd'];
  run('qemu-img', 'convert', ...options, scratch.path('disk.raw'), scratch.path('packed.qcow2'));
  const theirs = await serveImage(scratch, 'packed.qcow2', 'qcow2', ['-r']);
  const ours = await servePoint(scratch, 'full', 'bench', 'serve');
  await compareSequential(bench, ours, theirs);
  await compareRandom(bench, ours, theirs);
  await ours.stop();
  await theirs.stop();
  scratch.remove('packed.qcow2');
  await compareFirstByte(bench);
}
