import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { AbortedError, HypervisorError, NbdeltaError } from '../../errors.js';
import { KEPT_MEMORY } from '../../process/kept-memory.js';
import { markProcess, type ProcessMark } from '../host/process-start.js';
import { oneLine } from '../host/run-program.js';
import { type ImageReference, imageArguments } from './image-argument.js';
import { imageError } from './image-error.js';
import { endProcess } from './server-processes.js';

const START_TIMEOUT_MS = 15_000;
const POLL_MS = 10;
/** How long one connection waits for its greeting: then it is seen whether anybody wants it still. */
const GREETING_MS = 500;
/** Connections at once. */
const CLIENTS = 16;

export interface NbdProcessOptions {
  readonly image: ImageReference;
  readonly exportName: string;
  readonly socket: string;
  readonly bitmap: string | null;
  /** Whether it outlives this process. Otherwise it ends with it: it would keep the guest from starting. */
  readonly lasting: boolean;
  readonly signal: AbortSignal | undefined;
}

/**
 * Starts a qemu-nbd that serves the image read-only, under QEMU's lock.
 * @throws HypervisorError IMAGE_IN_USE and others with its words; nothing is left then.
 */
export async function startNbdProcess(options: NbdProcessOptions): Promise<ProcessMark> {
  const { image, exportName, socket, bitmap } = options;
  const log = await open(logPath(socket), 'a', 0o600);
  try {
    const args = [
      ...['--read-only', '--persistent', '--shared', String(CLIENTS), '--socket', socket],
      ...['--export-name', exportName, ...(bitmap === null ? [] : ['--bitmap', bitmap])],
      ...imageArguments(image, 'reading'),
    ];
    const [program, all] = commandLine(args, options.lasting);
    const child = spawn(program, all, {
      // Neither a Ctrl-C at our terminal nor our folder concerns it.
      ...{ detached: true, cwd: '/' },
      stdio: ['ignore', log.fd, log.fd],
      env: { ...KEPT_MEMORY, ...process.env, LC_ALL: 'C' },
    });
    const ended = new Promise<Error | 'ended'>(resolve => {
      child.once('error', resolve);
      child.once('exit', () => resolve('ended'));
    });
    child.unref();
    return await whenServing(child.pid, ended, options);
  } finally {
    await log.close();
  }
}

/** What the server of a socket has had to say, on one line. */
export async function readServerLog(socket: string): Promise<string> {
  return oneLine(await readFile(logPath(socket), 'utf8').catch(() => ''));
}

function logPath(socket: string): string {
  return `${socket}.log`;
}

/** Under util-linux's setpriv, where there is one, the kernel ends the program with its parent, even after a SIGKILL. */
function commandLine(args: readonly string[], lasting: boolean): [string, string[]] {
  const setpriv = lasting ? undefined : ['/usr/bin/setpriv', '/bin/setpriv'].find(endsWithParent);
  if (setpriv === undefined) return ['qemu-nbd', [...args]];
  return [setpriv, ['--pdeathsig', 'TERM', '--', 'qemu-nbd', ...args]];
}

/** Whether it is there and knows the option: BusyBox's and those before util-linux 2.33 do not. */
function endsWithParent(path: string): boolean {
  return existsSync(path) && spawnSync(path, ['--pdeathsig', 'TERM', '--', 'true']).status === 0;
}

async function whenServing(
  pid: number | undefined,
  ended: Promise<Error | 'ended'>,
  { image, socket, signal }: NbdProcessOptions,
): Promise<ProcessMark> {
  let end: Error | 'ended' | undefined;
  void ended.then(how => {
    end = how;
  });
  const mark = pid === undefined ? undefined : await markProcess(pid);
  const deadline = performance.now() + START_TIMEOUT_MS;
  while (!(await greets(socket))) {
    await delay(POLL_MS);
    if (end instanceof Error) throw notStarted(end);
    if (end !== undefined) throw await endedEarly(image, socket);
    const isLate = performance.now() > deadline;
    if (!isLate && !signal?.aborted) continue;
    if (mark !== undefined) await endProcess(mark);
    if (signal?.aborted) throw new AbortedError('qemu-nbd', signal.reason);
    throw new HypervisorError(
      'HYPERVISOR_UNREACHABLE',
      `qemu-nbd does not serve ${image.path} after ${START_TIMEOUT_MS / 1000} s`,
      { hint: 'does its storage answer?' },
    );
  }
  if (mark !== undefined) return mark;
  throw new HypervisorError('HYPERVISOR_FAILED', `qemu-nbd for ${image.path} ended at once`);
}

async function endedEarly(image: ImageReference, socket: string): Promise<NbdeltaError> {
  const said = await readServerLog(socket);
  // setpriv's words.
  if (/failed to execute qemu-nbd/.test(said)) return notStarted(new Error(said));
  return imageError(image, 'serve', said);
}

function notStarted(cause: Error): NbdeltaError {
  return new NbdeltaError('TOOL_MISSING', `qemu-nbd is needed: ${cause.message}`, {
    cause,
    hint: 'install qemu-utils',
    fields: { tool: 'qemu-nbd' },
  });
}

/**
 * Whether it greets: qemu-nbd listens before it has opened the image, and greets when it has. What is in the queue until
 * then is cut when it ends.
 */
function greets(path: string): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect({ path });
    const answer = (yes: boolean) => {
      socket.destroy();
      resolve(yes);
    };
    socket.setTimeout(GREETING_MS, () => answer(false));
    socket.once('data', () => answer(true)).once('error', () => answer(false));
    socket.once('close', () => answer(false));
  });
}
