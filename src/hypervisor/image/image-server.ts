import { type ChildProcess, spawn } from 'node:child_process';
import { open, readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { AbortedError, errorLine, NbdeltaError } from '../../errors.js';
import { imageArgument, type OpenableImage, secretArguments } from './image-argument.js';
import { qemuFailure } from './qemu-failure.js';

/** Longest wait for qemu-nbd to accept: it opens the image first, and a key derivation may be slow. */
const START_TIMEOUT_MS = 60_000;
const POLL_MS = 10;
/** Clients at once; more than one of them makes QEMU offer several connections. */
const CLIENTS = 16;
/** Of what qemu-nbd says before it ends. */
const LONGEST_LOG = 4096;

export interface ImageServerOptions {
  readonly image: OpenableImage;
  readonly exportName: string;
  /** In the run's private folder. */
  readonly socket: string;
  /** Bitmap that is published beside it. */
  readonly bitmap: string | null;
  readonly secretFile: string | undefined;
  readonly signal: AbortSignal | undefined;
}

/**
 * Starts a qemu-nbd that serves an image read-only until it is told to end, also when this process ends before: a session
 * is read by others. Returns its pid when it accepts.
 */
export async function startImageServer(options: ImageServerOptions): Promise<number> {
  const { image, socket, signal } = options;
  const log = `${socket}.log`;
  const argument = imageArgument(image);
  const child = await spawnDetached([...serverArguments(options), argument], log);
  const deadline = performance.now() + START_TIMEOUT_MS;
  while (!(await accepts(socket))) {
    if (signal?.aborted) throw new AbortedError('the start of qemu-nbd', signal.reason);
    if (hasEnded(child)) throw qemuFailure('qemu-nbd', image.path, argument, await readLog(log));
    if (performance.now() > deadline) {
      throw qemuFailure('qemu-nbd', image.path, argument, `it does not accept within ${START_TIMEOUT_MS / 1000} s`);
    }
    await delay(POLL_MS);
  }
  return child.pid!;
}

function serverArguments({ image, exportName, socket, bitmap, secretFile }: ImageServerOptions): readonly string[] {
  const bitmaps = bitmap === null ? [] : [`--bitmap=${bitmap}`];
  const fixed = ['--read-only', '--persistent', `--shared=${CLIENTS}`];
  const names = [`--export-name=${exportName}`, socketArgument(socket)];
  return [...fixed, ...names, ...bitmaps, ...secretArguments(image, secretFile)];
}

/** What a qemu-nbd is known by: the socket lies in a folder that is called like the run. */
export function socketArgument(socket: string): string {
  return `--socket=${socket}`;
}

async function spawnDetached(args: readonly string[], log: string): Promise<ChildProcess> {
  // Not a pipe: it must be able to speak when we are gone.
  const file = await open(log, 'wx', 0o600);
  try {
    const child = spawn('qemu-nbd', args, {
      detached: true,
      cwd: '/',
      env: { ...process.env, LC_ALL: 'C' },
      stdio: ['ignore', 'ignore', file.fd],
    });
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve).once('error', cause => reject(notStarted(cause)));
    });
    child.unref();
    return child;
  } finally {
    await file.close();
  }
}

function notStarted(cause: Error): NbdeltaError {
  const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
  return new NbdeltaError('TOOL_MISSING', `qemu-nbd is needed: ${missing ? 'it is not installed' : errorLine(cause)}`, {
    cause,
    hint: missing ? 'install qemu-nbd (Debian: qemu-utils)' : 'see what the system says',
    fields: { tool: 'qemu-nbd' },
  });
}

function hasEnded({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null;
}

async function readLog(path: string): Promise<string> {
  const text = await readFile(path, 'utf8');
  return text.slice(0, LONGEST_LOG).trim().replace(/\s*\n\s*/g, '; ');
}

/** Whether somebody listens at a unix socket. */
export async function accepts(path: string): Promise<boolean> {
  return await new Promise(resolve => {
    const socket = connect(path);
    const finish = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.once('connect', () => finish(true)).once('error', () => finish(false));
  });
}
