/** Merge beside `cp`, verify beside the decoder alone. */
import { hasProgram } from '../../test/run/setup.mjs';
import { nbdelta, peer } from '../contenders.mjs';
import { contest, memoryAtMost } from '../contest.mjs';
import { codecAlone } from '../limits.mjs';
import { bytesOf, chainRepository, fullRepository, linkRepository } from '../prepared.mjs';
import { say } from '../report.mjs';
import { runTimed } from '../timed-command.mjs';

const MEMORY = memoryAtMost(161 * 2 ** 20);

async function compareMerge(bench) {
  const { scratch } = bench;
  await chainRepository(bench);
  await contest(bench, {
    suite: 'upkeep',
    name: 'merge into a full',
    bytes: bytesOf(scratch.path('chain')),
    contenders: [
      {
        name: 'nbdelta merge --into full',
        run: async () => {
          linkRepository(scratch, 'chain', 'merged');
          const where = ['--into', 'full', '--repo', scratch.path('merged'), '--quiet'];
          return runTimed(scratch, [nbdelta('merge', 'bench', ...where)]);
        },
      },
      peer('cp of what came out, then sync', ['cp'], async () => {
        const copy = `cp -r '${scratch.path('merged')}' '${scratch.path('copied')}' && sync '${scratch.path('copied')}'`;
        const sample = await runTimed(scratch, [['sh', '-c', copy]]);
        scratch.remove('copied');
        return sample;
      }),
    ],
    targets: [
      { what: 'as fast as cp', atLeast: 0.8, of: ({ contenders }) => contenders[1].ratio?.median },
      MEMORY,
    ],
  });
  scratch.remove('merged');
}

async function compareVerify(bench) {
  const { scratch, bytes } = bench;
  await fullRepository(bench);
  const verify = nbdelta('verify', 'bench', '--repo', scratch.path('full'), '--quiet');
  await contest(bench, {
    suite: 'upkeep',
    name: 'verify of a full',
    bytes,
    contenders: [
      { name: 'nbdelta verify', run: () => runTimed(scratch, [verify]) },
      codecAlone(scratch, 'open'),
    ],
    targets: [
      { what: "of the decoder's speed", atLeast: 0.9, of: ({ contenders }) => contenders[1].ratio?.median },
      MEMORY,
    ],
  });
}

export async function compareUpkeep(bench) {
  if (hasProgram('qemu-img')) await compareMerge(bench);
  else say('\nmerge: left out, qemu-img not installed');
  await compareVerify(bench);
}
