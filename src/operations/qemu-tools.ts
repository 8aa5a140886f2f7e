import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { errorLine, NbdeltaError } from '../errors.js';
import { formatNbdUri } from '../nbd/protocol/uri.js';

const run = promisify(execFile);

/** Longest wait for qemu-nbd to open its socket. */
const START_TIMEOUT_MS = 15_000;

/** Runs one of QEMU's programs and returns what it printed. @throws NbdeltaError TOOL_MISSING, with its words. */
export async function runQemuTool(tool: string, args: readonly string[]): Promise<string> {
  try {
    return (await run(tool, args, { maxBuffer: 1 << 24 })).stdout;
  } catch (cause) {
    const { stderr } = cause as { readonly stderr?: string };
    throw toolFailed(tool, cause, stderr?.trim());
  }
}

function toolFailed(tool: string, cause: unknown, said = ''): NbdeltaError {
  const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
  const why = missing ? 'it is not installed' : said.replace(/\s*\n\s*/g, '; ') || errorLine(cause);
  return new NbdeltaError('TOOL_MISSING', `${tool} is needed and failed: ${why}`, {
    cause,
    hint: missing ? 'install qemu-utils, or do without: only qcow2 needs it' : 'see what it says',
    fields: { tool },
  });
}

/** A running qemu-nbd on a unix socket of its own. */
export interface QemuNbd {
  readonly uri: string;
  /** Ends it and waits until the image is closed. Safe twice. @throws NbdeltaError when it failed. */
  stop(): Promise<void>;
}

/**
 * Serves an image with qemu-nbd until it is stopped.
 * @param options further arguments: format, bitmaps, read-only.
 */
export async function startQemuNbd(
  image: string,
  options: readonly string[],
  exportName = '',
): Promise<QemuNbd> {
  const folder = await mkdtemp(join(tmpdir(), 'nbdelta-'));
  const socket = join(folder, 's');
  const args = ['-t', '-e', '8', '-k', socket, '-x', exportName, ...options, image];
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
    uri: formatNbdUri({ kind: 'unix', path: socket }, exportName),
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
