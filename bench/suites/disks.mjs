/** Eight disks in one backup, beside one disk with as much data. */

import { runBackup } from '../contenders.mjs';
import { contest, memoryAtMost } from '../contest.mjs';
import { smallDisks } from '../prepared.mjs';
import { serveImage } from '../qemu-export.mjs';

const MIB = 2 ** 20;

export async function compareDisks(bench) {
  const { scratch, bytes } = bench;
  const small = [];
  for (const image of smallDisks(bench)) small.push(await serveImage(scratch, image, 'raw', ['-r']));
  const one = await serveImage(scratch, 'disk.raw', 'raw', ['-r']);
  const backup = async sources => {
    const sample = await runBackup(scratch, 'disks', sources, ['--level', 'full']);
    scratch.remove('disks');
    return sample;
  };
  await contest(bench, {
    suite: 'disks',
    name: 'eight disks in one backup',
    bytes,
    contenders: [
      {
        name: 'nbdelta backup, eight disks',
        run: () => backup(small.map(({ uri }, index) => `vd${index}=${uri}`)),
      },
      { name: 'nbdelta backup, one disk', run: () => backup([`disk=${one.uri}`]) },
    ],
    targets: [
      { what: 'as fast as one disk', atLeast: 1, of: ({ contenders }) => contenders[1].ratio.median },
      memoryAtMost(350 * MIB),
    ],
  });
  for (const served of [...small, one]) await served.stop();
  for (let index = 0; index < small.length; index++) scratch.remove(`small${index}.raw`);
}
