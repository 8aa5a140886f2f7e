/** qemu-nbd as the server of a benchmark. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const READY_TIMEOUT_MS = 20_000;

/**
 * Serves an image as export `disk`; `args` are more of qemu-nbd's.
 * @returns its NBD URI, its socket and its process, and `stop` to end it.
 */
export async function serveImage(scratch, image, format, args) {
  const socket = scratch.path(`${image}.sock`);
  // It writes this file when it listens.
  const ready = scratch.path(`${image}.pid`);
  scratch.remove(`${image}.pid`);
  const own = ['-t', '-e', '16', '-f', format, '-k', socket, '-x', 'disk', '--pid-file', ready];
  const child = spawn('qemu-nbd', [...own, ...args, scratch.path(image)], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  scratch.own(child);
  let said = '';
  child.stderr.setEncoding('utf8').on('data', text => {
    said += text;
  });
  const ended = new Promise(resolve => {
    child.once('close', resolve).once('error', resolve);
  });
  const deadline = performance.now() + READY_TIMEOUT_MS;
  while (!existsSync(ready)) {
    if (child.exitCode !== null || performance.now() > deadline)
      throw new Error(`qemu-nbd is not ready: ${said.trim()}`);
    await sleep(20);
  }
  const stop = async () => {
    child.kill('SIGTERM');
    await ended;
  };
  return { uri: `nbd+unix:///disk?socket=${socket}`, socket, pid: child.pid, stop };
}
