/** An incremental of 200 MiB in scattered blocks. */
import { hasProgram } from '../../test/run/setup.mjs';
import { peer, runBackup, runZstdPipe, ZSTD_PIPE } from '../contenders.mjs';
import { contest, fasterThan, memoryAtMost } from '../contest.mjs';
import { BLOCK, CHANGED, changedOverlay, fullRepository, linkRepository } from '../prepared.mjs';
import { serveImage } from '../qemu-export.mjs';
import { say } from '../report.mjs';
import { runTimed } from '../timed-command.mjs';

const MIB = 2 ** 20;

/** Leaves the repository `chain` behind. */
export async function compareIncremental(bench) {
  const { scratch } = bench;
  if (!hasProgram('qemu-img')) {
    say('\nincremental: left out, qemu-img not installed');
    return;
  }
  await fullRepository(bench);
  await changedOverlay(bench);
  const served = await serveImage(scratch, 'overlay.qcow2', 'qcow2', ['-r', '-B', 'b0']);
  const changed = await serveImage(scratch, 'changed.raw', 'raw', ['-r']);
  const more = ['--level', 'incremental', '--bitmap', 'b0', '--since', 'latest'];
  await contest(bench, {
    suite: 'incremental',
    name: 'incremental, 200 MiB in 3,200 blocks',
    bytes: CHANGED * BLOCK,
    contenders: [
      {
        name: 'nbdelta backup, incremental',
        run: () => {
          linkRepository(scratch, 'full', 'chain');
          return runBackup(scratch, 'chain', [`disk=${served.uri}`], more);
        },
      },
      peer('nbdcopy URI FILE, those bytes alone', ['nbdcopy'], async () => {
        const sample = await runTimed(scratch, [['nbdcopy', changed.uri, scratch.path('copied')]]);
        scratch.remove('copied');
        return sample;
      }),
      peer(`${ZSTD_PIPE}, the whole`, ['nbdcopy', 'zstd'], async () => {
        const sample = await runZstdPipe(scratch, served.uri, 'whole.zst');
        scratch.remove('whole.zst');
        return sample;
      }),
    ],
    targets: [fasterThan(1, 'as fast as nbdcopy of the same bytes', 0.7), memoryAtMost(161 * MIB)],
  });
  await served.stop();
  await changed.stop();
}
