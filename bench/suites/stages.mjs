/** What a byte costs in each stage of a full backup, and what follows for larger machines: `nbdelta bench --stages`. */
import { spawnSync } from 'node:child_process';
import { nbdelta } from '../contenders.mjs';
import { serveImage } from '../qemu-export.mjs';
import { say } from '../report.mjs';

export async function measureStages({ scratch, others }) {
  const served = await serveImage(scratch, 'disk.raw', 'raw', ['-r']);
  const [program, ...args] = nbdelta('bench', served.uri, '--stages', '--dir', scratch.folder);
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  await served.stop();
  if (status !== 0) throw new Error(`nbdelta bench --stages: ${stderr.trim()}`);
  say(`\n${stdout.trim()}`);
  others.push({ name: 'stages', lines: stdout.trim().split('\n') });
}
