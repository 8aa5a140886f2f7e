/**
 * `node slow-backup.mjs OPTIONS stop|crawl`: runs backupGuest, which in mid-read, once, says `half` and stops itself
 * (SIGSTOP) until it gets SIGCONT, or goes on very slowly. Prints the point's manifest at the end, or the error's code.
 */
import { writeSync } from 'node:fs';
import { backupGuest } from '#nbdelta/index.js';

const nobody = new Int32Array(new SharedArrayBuffer(4));
let isPastHalf = false;

function slowDown({ phase, done, total }) {
  if (phase !== 'data' || done * 2 < total) return;
  if (!isPastHalf) writeSync(1, 'half\n');
  if (!isPastHalf && process.argv[3] === 'stop') process.kill(process.pid, 'SIGSTOP');
  // The connections are served in between: a reader that hangs would keep QEMU from ending.
  if (process.argv[3] === 'crawl') Atomics.wait(nobody, 0, 0, 100);
  isPastHalf = true;
}

try {
  const options = { frameSize: 65_536, connections: 1, threads: 1, retries: 0, onProgress: slowDown };
  const { point } = await backupGuest({ ...JSON.parse(process.argv[2]), ...options });
  writeSync(1, `${JSON.stringify(point)}\n`);
} catch (error) {
  writeSync(1, `${error.code}\n`);
  process.exitCode = 1;
}
