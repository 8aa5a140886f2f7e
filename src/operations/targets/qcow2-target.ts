import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { errorLine, NbdeltaError } from '../../errors.js';
import { formatNbdUri } from '../../nbd/protocol/uri.js';
import { openNbdTarget } from './nbd-target.js';
import { discard, type NewFile, planNewFile, publish } from './new-file.js';
import type { RestoreTarget } from './restore-target.js';

const run = promisify(execFile);

/** Longest wait for qemu-nbd to open its socket. */
const START_TIMEOUT_MS = 15_000;

/** A new qcow2 image, written through `qemu-nbd`; what is not written stays unallocated. */
export async function openQcow2Target(
  path: string,
  size: number,
  force: boolean,
  signal?: AbortSignal,
): Promise<RestoreTarget> {
  const file = await planNewFile(path, force);
  try {
    await qemuImg(['create', '-q', '-f', 'qcow2', file.partialPath, String(size)]);
    const server = await startQemuNbd(file.partialPath);
    try {
      const target = await openNbdTarget(server.uri, size, { zeroed: true, signal });
      return new Qcow2Target(file, server, target);
    } catch (error) {
      await server.stop();
      throw error;
    }
  } catch (error) {
    await discard(file);
    throw error;
  }
}

async function qemuImg(args: readonly string[]): Promise<void> {
  try {
    await run('qemu-img', args);
  } catch (cause) {
    throw toolFailed('qemu-img', cause);
  }
}

function toolFailed(tool: string, cause: unknown, said = ''): NbdeltaError {
  const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
  const why = missing ? 'it is not installed' : said || errorLine(cause);
  return new NbdeltaError('TOOL_MISSING', `${tool} is needed for qcow2 and failed: ${why}`, {
    cause,
    hint: missing ? 'install qemu-utils, or restore with --format raw' : 'see what it says',
    fields: { tool },
  });
}

interface QemuNbd {
  readonly uri: string;
  /** Ends it and waits until the image is closed. @throws NbdeltaError when it failed. */
  stop(): Promise<void>;
}

async function startQemuNbd(image: string): Promise<QemuNbd> {
  const folder = await mkdtemp(join(tmpdir(), 'nbdelta-'));
  const socket = join(folder, 's');
  const args = ['-t', '-e', '8', '-f', 'qcow2', '--discard=unmap', '--cache=writeback', '-k', socket, image];
  const child = spawn('qemu-nbd', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const said: string[] = [];
  child.stderr.setEncoding('utf8').on('data', text => said.push(text));
  const ended = new Promise<Error | undefined>(resolve => {
    child.once('error', resolve);
    child.once('exit', (code, sent) =>
      resolve(code === 0 ? undefined : new Error(`ended with ${code ?? sent}`)),
    );
  });
  try {
    await Promise.race([listening(socket, child), ended.then(cause => Promise.reject(cause))]);
  } catch (cause) {
    await terminate(child);
    await rm(folder, { recursive: true, force: true });
    throw toolFailed('qemu-nbd', cause, said.join('').trim());
  }
  return {
    uri: formatNbdUri({ kind: 'unix', path: socket }, ''),
    stop: async () => {
      child.kill('SIGTERM');
      const failure = await ended;
      await rm(folder, { recursive: true, force: true });
      if (failure) throw toolFailed('qemu-nbd', failure, said.join('').trim());
    },
  };
}

async function terminate(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
}

/** Waits until the socket accepts. */
async function listening(socket: string, child: ChildProcess): Promise<void> {
  const deadline = performance.now() + START_TIMEOUT_MS;
  while (child.exitCode === null) {
    if (await accepts(socket)) return;
    if (performance.now() > deadline) throw new Error(`no socket after ${START_TIMEOUT_MS} ms`);
    await delay(10);
  }
}

function accepts(path: string): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

class Qcow2Target implements RestoreTarget {
  readonly description: string;
  readonly zeroed = true;
  readonly #file: NewFile;
  readonly #server: QemuNbd;
  readonly #target: RestoreTarget;

  constructor(file: NewFile, server: QemuNbd, target: RestoreTarget) {
    this.#file = file;
    this.#server = server;
    this.#target = target;
    this.description = file.path;
  }

  write(offset: number, bytes: Uint8Array): Promise<void> {
    return this.#target.write(offset, bytes);
  }

  /** A cluster that was never written reads as zero. */
  async zero(): Promise<void> {}

  async finish(): Promise<void> {
    await this.#target.finish();
    await this.#server.stop();
    const handle = await open(this.#file.partialPath, 'r+');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
    await publish(this.#file);
  }

  async abort(): Promise<void> {
    try {
      await this.#target.abort();
      await this.#server.stop();
    } finally {
      await discard(this.#file);
    }
  }
}
