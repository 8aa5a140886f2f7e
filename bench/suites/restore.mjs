/** Restores to a raw file: of a full, of a full with an incremental, and of a point deep in a chain. */
import { hasProgram } from '../../test/run/setup.mjs';
import { nbdelta, peer } from '../contenders.mjs';
import { contest, memoryAtMost } from '../contest.mjs';
import { codecAlone } from '../limits.mjs';
import { chainRepository, fullRepository, fullZst, LONG, longRepository } from '../prepared.mjs';
import { serveImage } from '../qemu-export.mjs';
import { say } from '../report.mjs';
import { runTimed } from '../timed-command.mjs';

const MIB = 2 ** 20;
const MEMORY = memoryAtMost(161 * MIB);

async function restoreOnce(scratch, repository, point) {
  const where = ['--disk', 'disk', '--repo', scratch.path(repository), '--to', scratch.path('restored')];
  const sample = await runTimed(scratch, [nbdelta('restore', point, ...where, '--quiet')]);
  scratch.remove('restored');
  return sample;
}

/** The slower one of two limits, beside ours: 1 is as fast as the machine. */
function shareOfLimits({ contenders: [ours, , opening, writing] }) {
  if (writing.missing) return undefined;
  return Math.max(opening.wall, writing.wall) / ours.wall;
}

async function compareWithUnpacking(bench) {
  const { scratch, bytes } = bench;
  // Before the disk is served here: that serves it too, at the same socket.
  if (hasProgram('nbdcopy') && hasProgram('zstd')) await fullZst(bench);
  const served = await serveImage(scratch, 'disk.raw', 'raw', ['-r']);
  await contest(bench, {
    suite: 'restore',
    name: 'restore of a full',
    bytes,
    contenders: [
      { name: 'nbdelta restore, to raw', run: () => restoreOnce(scratch, 'full', 'bench') },
      peer('zstd -d --sparse', ['nbdcopy', 'zstd'], async () => {
        const unpack = ['zstd', '-dfq', '--sparse', scratch.path('full.zst'), '-o', scratch.path('unpacked')];
        const sample = await runTimed(scratch, [unpack]);
        scratch.remove('unpacked');
        return sample;
      }),
      codecAlone(scratch, 'open'),
      peer('the limit: nbdcopy writes the same file', ['nbdcopy'], async () => {
        const sample = await runTimed(scratch, [['nbdcopy', served.uri, scratch.path('copied')]]);
        scratch.remove('copied');
        return sample;
      }),
    ],
    targets: [{ what: 'of the slower limit', atLeast: 0.9, of: shareOfLimits }, MEMORY],
  });
  await served.stop();
}

async function compareChain(bench, name, what, [repository, point], [full, fullPoint]) {
  const { scratch, bytes } = bench;
  await contest(bench, {
    suite: 'restore',
    name,
    bytes,
    contenders: [
      { name: what, run: () => restoreOnce(scratch, repository, point) },
      { name: 'nbdelta restore of a full', run: () => restoreOnce(scratch, full, fullPoint) },
    ],
    targets: [
      { what: 'beside a full', atMost: 1.3, of: ({ contenders }) => contenders[0].wall / contenders[1].wall },
      MEMORY,
    ],
  });
}

export async function compareRestore(bench) {
  await fullRepository(bench);
  await compareWithUnpacking(bench);
  if (!hasProgram('qemu-img')) {
    say('\nrestore of chains: left out, qemu-img not installed');
    return;
  }
  await chainRepository(bench);
  const two = ['nbdelta restore, two archives', ['chain', 'bench'], ['full', 'bench']];
  await compareChain(bench, 'restore of full and incremental', ...two);
  await longRepository(bench);
  const deep = ['long', `bench@${bench.longPoints[LONG.half - 1]}`];
  await compareChain(bench, `restore of point ${LONG.half}`, 'nbdelta restore, 50 archives', deep, [
    'flat',
    'bench',
  ]);
}
