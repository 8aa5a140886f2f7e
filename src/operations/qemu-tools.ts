import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { errorLine, NbdeltaError } from '../errors.js';
import { formatNbdUri } from '../nbd/protocol/uri.js';
import { KEPT_MEMORY } from '../process/kept-memory.js';

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
  /**
   * Waits until it has ended and the image is closed; `now`: it is told to, without waiting for its client.
   * @throws NbdeltaError when it failed.
   */
  stop(options?: { readonly now: boolean }): Promise<void>;
}

export interface QemuNbdOptions {
  readonly image: string;
  /** Further arguments: format, bitmaps, read-only. */
  readonly args: readonly string[];
  readonly exportName?: string;
  /**
   * `until-stopped`, or `first-client`: it ends with its last client, so that it does not outlive a restore that
   * was killed. Nobody must connect to it but that client.
   */
  readonly lifetime: 'until-stopped' | 'first-client';
}

/** Serves an image with qemu-nbd. It may take a moment until {@link QemuNbd.uri} accepts: see {@link whenListening}. */
export async function startQemuNbd(options: QemuNbdOptions): Promise<QemuNbd> {
  const { image, args, exportName = '', lifetime } = options;
  const folder = await mkdtemp(join(tmpdir(), 'nbdelta-'));
  const socket = join(folder, 's');
  const persistent = lifetime === 'until-stopped' ? ['-t'] : [];
  const all = [...persistent, '-e', '8', '-k', socket, '-x', exportName, ...args, image];
  const child = spawn('qemu-nbd', all, {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...KEPT_MEMORY, ...process.env },
  });
  const said: string[] = [];
  child.stderr.setEncoding('utf8').on('data', text => said.push(text));
  const ended = new Promise<Ended>(resolve => {
    child.once('error', cause => resolve({ cause }));
    child.once('exit', (code, sent) =>
      resolve({ cause: code === 0 ? undefined : new Error(`ended with ${code ?? sent}`) }),
    );
  });
  const stop = async (now: boolean) => {
    const { cause } = await end(child, ended, now);
    await rm(folder, { recursive: true, force: true });
    if (cause) throw toolFailed('qemu-nbd', cause, said.join('').trim());
  };
  if (!(await socketBound(socket, ended))) {
    await stop(true);
    throw toolFailed('qemu-nbd', new Error('it opened no socket'), said.join('').trim());
  }
  return {
    uri: formatNbdUri({ kind: 'unix', path: socket }, exportName),
    stop: ({ now } = { now: lifetime === 'until-stopped' }) => stop(now),
  };
}

interface Ended {
  /** Why it ended, when that was no success. */
  readonly cause: Error | undefined;
}

/** How long qemu-nbd may take to end by itself, and then after each signal. It has flushed before. */
const END_TIMEOUT_MS = 15_000;

/** Waits for the end of a qemu-nbd, with more and more force; one that has to be killed has failed. */
async function end(child: ChildProcess, ended: Promise<Ended>, now: boolean): Promise<Ended> {
  const steps = [...(now ? [] : ['wait']), 'SIGTERM', 'SIGKILL'] as const;
  for (const step of steps) {
    if (step !== 'wait') child.kill(step as NodeJS.Signals);
    const result = await Promise.race([ended, delay(END_TIMEOUT_MS, undefined, { ref: false })]);
    if (result) return result;
  }
  return { cause: new Error('it cannot be killed') };
}

/** Waits for the socket's file. It is not connected to: a first client's server would end with that. */
async function socketBound(socket: string, ended: Promise<Ended>): Promise<boolean> {
  let over = false;
  void ended.then(() => {
    over = true;
  });
  const deadline = performance.now() + START_TIMEOUT_MS;
  while (!existsSync(socket)) {
    if (over || performance.now() > deadline) return false;
    await delay(5);
  }
  return true;
}

/** Runs `connect` until the server accepts: between making its socket and listening it refuses for a moment. */
export async function whenListening<Result>(connect: () => Promise<Result>): Promise<Result> {
  const deadline = performance.now() + START_TIMEOUT_MS;
  while (true) {
    try {
      return await connect();
    } catch (error) {
      const refused = error instanceof NbdeltaError && error.code === 'NBD_CONNECT_FAILED';
      if (!refused || performance.now() > deadline) throw error;
      await delay(5);
    }
  }
}
