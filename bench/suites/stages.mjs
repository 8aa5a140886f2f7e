/** What a byte costs in each stage of a full backup, and how many cores that keeps busy: see `../stages.mjs`. */
import { spawnSync } from 'node:child_process';
import { script } from '../contenders.mjs';
import { serveImage } from '../qemu-export.mjs';
import { say } from '../report.mjs';

const MIB = 2 ** 20;

function read(uri, folder) {
  const [program, ...args] = script('stages.mjs', uri, folder);
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`stages.mjs: ${stderr.trim()}`);
  return stdout
    .trim()
    .split('\n')
    .map(line => JSON.parse(line));
}

const rate = ({ bytes, cpu }) => bytes / MIB / cpu;

/** The event loop's thread reads every byte; codec threads do the rest. Where the loop is full, more cores do not help. */
function describeLimit(stages) {
  const one = name => stages.find(({ stage }) => stage === name);
  const stored = one('digest of what is stored').bytes / one('compress').bytes;
  const codec =
    1 /
    (1 / rate(one('zero test')) +
      1 / rate(one('digest')) +
      1 / rate(one('compress')) +
      stored / rate(one('digest of what is stored')));
  const loop = rate(one('read'));
  return [
    `a codec thread: ${Math.round(codec)} MiB/s; the event loop's thread reads ${Math.round(loop)} MiB/s`,
    `the event loop is the limit from ${Math.ceil(loop / codec)} codec threads on, at ${((loop * 8 * MIB) / 1e9).toFixed(0)} Gbit/s`,
  ];
}

export async function measureStages({ scratch, others }) {
  const served = await serveImage(scratch, 'disk.raw', 'raw', ['-r']);
  const stages = read(served.uri, scratch.folder);
  await served.stop();
  scratch.remove('stages-written');
  const lines = ['stage                           bytes   CPU seconds    MiB per CPU second'];
  for (const each of stages) {
    const cells = [
      `${Math.round(each.bytes / MIB)} MiB`,
      each.cpu.toFixed(3),
      each.bytes ? rate(each).toFixed(0) : '-',
    ];
    lines.push(
      `${each.stage.padEnd(26)}${cells[0].padStart(11)}${cells[1].padStart(14)}${cells[2].padStart(22)}`,
    );
  }
  lines.push(...describeLimit(stages));
  say(`\n${lines.join('\n')}`);
  others.push({ name: 'stages', lines });
}
