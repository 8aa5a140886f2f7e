/** `nbdelta serve` as the server of a benchmark. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { nbdelta } from './contenders.mjs';

const READY_TIMEOUT_MS = 20_000;

/** Whether somebody listens there. */
function answers(socket) {
  return new Promise(resolve => {
    const connection = connect(socket);
    const end = isThere => {
      connection.destroy();
      resolve(isThere);
    };
    connection.once('connect', () => end(true)).once('error', () => end(false));
  });
}

/** Serves `point` of a repository in scratch. @returns URI, process id, and `stop`. */
export async function servePoint(scratch, repository, point, name) {
  const socket = scratch.path(`${name}.sock`);
  const where = ['--disk', 'disk', '--repo', scratch.path(repository), '--socket', socket, '--quiet'];
  const [program, ...args] = nbdelta('serve', point, ...where);
  const child = scratch.own(spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] }));
  let said = '';
  child.stderr.setEncoding('utf8').on('data', text => {
    said += text;
  });
  const ended = new Promise(resolve => child.once('close', resolve));
  const deadline = performance.now() + READY_TIMEOUT_MS;
  while (!existsSync(socket) || !(await answers(socket))) {
    if (child.exitCode !== null || performance.now() > deadline)
      throw new Error(`nbdelta serve is not ready: ${said.trim()}`);
    await sleep(2);
  }
  const stop = async () => {
    child.kill('SIGTERM');
    await ended;
  };
  return { uri: `nbd+unix:///disk?socket=${socket}`, pid: child.pid, stop };
}
