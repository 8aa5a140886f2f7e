/** A full backup of the disk: compressed, and as it is. */

import { peer, runBackup, runZstdPipe, ZSTD_PIPE } from '../contenders.mjs';
import { contest, fasterThan, memoryAtMost } from '../contest.mjs';
import { codecAlone } from '../limits.mjs';
import { bytesOf, run } from '../prepared.mjs';
import { serveImage } from '../qemu-export.mjs';
import { runTimed } from '../timed-command.mjs';

const MIB = 2 ** 20;
const FRAME = MIB;
/** What a backup, a restore or a server may take at any size. */
const memoryLimit = bytes => 160 * MIB + (bytes / FRAME) * (80 + 16);

function resticPipe(scratch, uri) {
  const env = { RESTIC_REPOSITORY: scratch.path('restic'), RESTIC_PASSWORD: 'bench', HOME: scratch.folder };
  scratch.remove('restic');
  run('env', ...Object.entries(env).map(([key, value]) => `${key}=${value}`), 'restic', '-q', 'init');
  const store = ['restic', '-q', '--no-cache', 'backup', '--stdin', '--stdin-filename', 'disk'];
  return runTimed(scratch, [['nbdcopy', uri, '-'], store], { env });
}

function compressedContenders({ scratch }, uri) {
  return [
    {
      name: 'nbdelta backup, zstd:1',
      run: () => {
        scratch.remove('full');
        return runBackup(scratch, 'full', [`disk=${uri}`], ['--level', 'full']);
      },
    },
    peer(ZSTD_PIPE, ['nbdcopy', 'zstd'], () => runZstdPipe(scratch, uri, 'full.zst')),
    peer('qemu-img convert -c, zstd', ['qemu-img'], async () => {
      const options = ['-c', '-O', 'qcow2', '-o', 'compression_type=zstd'];
      const sample = await runTimed(scratch, [
        ['qemu-img', 'convert', ...options, uri, scratch.path('full.qcow2')],
      ]);
      scratch.remove('full.qcow2');
      return sample;
    }),
    peer('nbdcopy URI - | restic backup --stdin', ['nbdcopy', 'restic'], async () => {
      const sample = await resticPipe(scratch, uri);
      scratch.remove('restic');
      return sample;
    }),
    codecAlone(scratch, 'seal'),
  ];
}

function compressedTargets({ scratch, bytes }) {
  return [
    fasterThan(1, `as fast as ${ZSTD_PIPE}`, 2.5),
    {
      what: "CPU beside the codec's alone",
      atMost: 1.35,
      of: ({ contenders }) => contenders[0].cpu / contenders[4].cpu,
    },
    { what: 'all cores at work', unit: '%', atLeast: 92, of: ({ contenders }) => contenders[0].busy * 100 },
    memoryAtMost(memoryLimit(bytes)),
    {
      what: `stored bytes beside ${ZSTD_PIPE}`,
      atMost: 1.03,
      of: ({ contenders }) =>
        contenders[1].missing ? undefined : bytesOf(scratch.path('full')) / bytesOf(scratch.path('full.zst')),
    },
  ];
}

/** Leaves the repository `full` and `full.zst` behind. */
export async function compareFull(bench) {
  const { scratch, bytes } = bench;
  const served = await serveImage(scratch, 'disk.raw', 'raw', ['-r']);
  await contest(bench, {
    suite: 'full',
    name: 'full backup',
    bytes,
    contenders: compressedContenders(bench, served.uri),
    targets: compressedTargets(bench),
  });
  await contest(bench, {
    suite: 'full',
    name: 'full backup, not compressed',
    bytes,
    contenders: [
      {
        name: 'nbdelta backup, none',
        run: async () => {
          const more = ['--level', 'full', '--compression', 'none'];
          const sample = await runBackup(scratch, 'none', [`disk=${served.uri}`], more);
          scratch.remove('none');
          return sample;
        },
      },
      peer('nbdcopy URI FILE', ['nbdcopy'], async () => {
        const sample = await runTimed(scratch, [['nbdcopy', served.uri, scratch.path('copied')]]);
        scratch.remove('copied');
        return sample;
      }),
    ],
    targets: [fasterThan(1, 'as fast as nbdcopy to a file', 0.8), memoryAtMost(memoryLimit(bytes))],
  });
  await served.stop();
}
