import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { errorLine, HypervisorError } from '../../errors.js';
import type { Action } from '../front-end.js';
import {
  isSameProcess,
  listCommands,
  type ProcessMark,
  type RunningCommand,
  readCommand,
} from '../host/process-start.js';
import { pathInArgument } from './image-argument.js';

/** How long a qemu-nbd may take to end after each signal. */
const END_TIMEOUT_MS = 15_000;
const POLL_MS = 10;

/** A running qemu-nbd with a socket. */
export interface ServerProcess extends ProcessMark {
  readonly socket: string;
  /** Of the image; `undefined` for one that nbdelta did not start. */
  readonly image: string | undefined;
}

/** All that we may look at. They are known by their command lines: no other has a socket in a run's folder. */
export async function findServers(): Promise<readonly ServerProcess[]> {
  return (await listCommands()).map(serverOf).filter(server => server !== undefined);
}

/** Whether the very process that was started for a socket still serves it. */
export async function isServing({ pid, start }: ProcessMark, socket: string): Promise<boolean> {
  const command = await readCommand(pid);
  return command?.start === start && serverOf(command)?.socket === socket;
}

/** What a command line says; `undefined` for every other program. */
export function serverOf({ argv, pid, start }: RunningCommand): ServerProcess | undefined {
  // Under setpriv for a moment: it becomes qemu-nbd then.
  const at = argv.findIndex(word => /(^|\/)qemu-nbd$/.test(word));
  if (at < 0 || (at > 0 && !/(^|\/)setpriv$/.test(argv[0]!))) return undefined;
  const option = argv.indexOf('--socket', at);
  const socket = option < 0 ? undefined : argv[option + 1];
  return socket === undefined ? undefined : { pid, start, socket, image: pathInArgument(argv.at(-1)!) };
}

/**
 * Ends every qemu-nbd with a socket in the folder: by their sockets, not by their numbers, because a run that died
 * may have started one that it did not get to write down.
 */
export async function endServers(folder: string): Promise<readonly Action[]> {
  const actions: Action[] = [];
  for (const server of await findServers()) {
    if (dirname(server.socket) !== folder || !(await endProcess(server))) continue;
    const text = `qemu-nbd (process ${server.pid}), which served from ${folder}, ended`;
    actions.push({ what: 'process-ended', name: String(server.pid), text });
  }
  return actions;
}

/** Ends a process and waits until it is gone; whether it was there. @throws HypervisorError when it cannot be ended. */
export async function endProcess(mark: ProcessMark): Promise<boolean> {
  if (!(await isSameProcess(mark))) return false;
  // It only reads: killed, it leaves the image as it was.
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    send(mark.pid, signal);
    const deadline = performance.now() + END_TIMEOUT_MS;
    while (performance.now() < deadline) {
      if (!(await isSameProcess(mark))) return true;
      await delay(POLL_MS);
    }
  }
  throw new HypervisorError('HYPERVISOR_FAILED', `process ${mark.pid} (qemu-nbd) does not end`, {
    hint: 'its storage may hang: it ends when that answers',
  });
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ESRCH') return;
    throw new HypervisorError(
      'HYPERVISOR_DENIED',
      `qemu-nbd (process ${pid}) cannot be ended: ${errorLine(cause)}`,
      {
        cause,
        hint: 'run as root, or as who began the run',
      },
    );
  }
}
