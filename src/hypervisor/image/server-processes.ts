import { readdir, readFile } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { errorLine, HypervisorError } from '../../errors.js';
import type { Action } from '../front-end.js';
import { pollUntil } from '../host/poll-until.js';
import { pathInArgument } from './image-argument.js';
import { accepts, socketArgument } from './image-server.js';

/** How long a qemu-nbd may take to end after each signal. */
const END_TIMEOUT_MS = 10_000;

/** A running qemu-nbd with a socket. */
export interface ServerProcess {
  readonly pid: number;
  readonly socket: string;
  /** Of the image; `undefined` for one that nbdelta did not start. */
  readonly path: string | undefined;
}

/**
 * All running qemu-nbd of this machine. They are known by their command lines: the socket's folder is called like the run,
 * which no other has, so that a pid that came again is never taken for one of them. A zombie has no command line.
 */
export async function findServers(): Promise<readonly ServerProcess[]> {
  const pids = (await readdir('/proc').catch(noProc)).filter(name => /^\d+$/.test(name));
  const found = await Promise.all(pids.map(pid => findServer(Number(pid))));
  return found.filter(server => server !== undefined);
}

function noProc(cause: unknown): never {
  throw new HypervisorError('HYPERVISOR_FAILED', `processes cannot be listed: ${errorLine(cause)}`, {
    cause,
    hint: 'images can be backed up on Linux, with /proc mounted',
  });
}

/** The qemu-nbd of that pid; `undefined` when there is no such process, or it is another program. */
export async function findServer(pid: number): Promise<ServerProcess | undefined> {
  // It may have ended in the meantime, or be none of our business.
  const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  const [program = '', ...args] = line.split('\0').slice(0, -1);
  if (basename(program) !== 'qemu-nbd') return undefined;
  const prefix = socketArgument('');
  const socket = args.find(arg => arg.startsWith(prefix))?.slice(prefix.length);
  return socket === undefined ? undefined : { pid, socket, path: pathInArgument(args.at(-1) ?? '') };
}

/**
 * Ends every qemu-nbd with a socket in the folder, and waits until they are gone: then the images are closed.
 * @throws HypervisorError when one cannot be ended, or cannot be seen from here.
 */
export async function endServers(folder: string, sockets: readonly string[]): Promise<readonly Action[]> {
  const servers = (await findServers()).filter(({ socket }) => dirname(socket) === folder);
  const actions: Action[] = [];
  for (const server of servers) {
    await endServer(server);
    const { pid, path } = server;
    actions.push({ what: 'process-ended', name: `qemu-nbd ${pid}`, text: `qemu-nbd ${pid} of image ${path} was ended` });
  }
  for (const socket of sockets) await checkSilent(socket);
  return actions;
}

async function endServer({ pid, socket, path }: ServerProcess): Promise<void> {
  // It only reads: killed, it leaves the image as it was.
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    const isGone = async () => (await findServer(pid))?.socket !== socket;
    if (await isGone()) return;
    sendSignal(pid, signal);
    if (await pollUntil(isGone, END_TIMEOUT_MS)) return;
  }
  throw new HypervisorError('HYPERVISOR_FAILED', `qemu-nbd ${pid} of image ${path} cannot be ended`, {
    hint: 'its storage may hang: it ends when that answers',
  });
}

function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ESRCH') return;
    throw new HypervisorError('HYPERVISOR_DENIED', `qemu-nbd ${pid} cannot be ended: ${errorLine(cause)}`, {
      cause,
      hint: 'run as root, or as who began the run',
    });
  }
}

/** In another container the process is not seen, but its socket may be. */
async function checkSilent(socket: string): Promise<void> {
  if (!(await accepts(socket))) return;
  throw new HypervisorError('HYPERVISOR_FAILED', `a qemu-nbd still serves ${socket}, and cannot be seen from here`, {
    hint: 'end the run where it was begun: in the same container, or outside',
  });
}
