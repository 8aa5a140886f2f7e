import { readFileSync } from 'node:fs';
import { type RunningProcess, runOk, waitFor } from './processes.js';

const TERM_TIMEOUT_MS = 5_000;

/** Daemons still alive: none may outlive a test worker that crashes. */
const alive = new Set<number>();
process.on('exit', () => {
  for (const pid of alive) signal(pid, 'SIGKILL');
});

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error; // gone already: as it should be
  }
}

/** A zombie counts as gone: in a container often nobody reaps orphans. */
function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
  } catch {
    return false; // no such process
  }
}

/** A program that insists on going to the background, known by its pid file. */
class DaemonProcess implements RunningProcess {
  readonly pid: number;
  readonly stdout = '';
  readonly stderr = '';

  constructor(pid: number) {
    this.pid = pid;
    alive.add(pid);
  }

  get isRunning(): boolean {
    return isAlive(this.pid);
  }

  get ended(): Promise<NodeJS.Signals> {
    return this.#gone(Number.POSITIVE_INFINITY).then(() => 'SIGTERM');
  }

  async #gone(timeoutMs: number): Promise<void> {
    await waitFor(() => !this.isRunning, `the end of process ${this.pid}`, timeoutMs);
    alive.delete(this.pid);
  }

  async stop(): Promise<void> {
    if (!this.isRunning) return;
    signal(this.pid, 'SIGTERM');
    await this.#gone(TERM_TIMEOUT_MS).catch(() => this.kill());
  }

  async kill(): Promise<void> {
    if (this.isRunning) signal(this.pid, 'SIGKILL');
    await this.#gone(TERM_TIMEOUT_MS);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

function readPid(pidFile: string): number {
  try {
    return Number.parseInt(readFileSync(pidFile, 'latin1'), 10);
  } catch {
    return Number.NaN; // not written yet
  }
}

/** Starts a program that forks itself into the background and writes its pid to `pidFile`. */
export async function startDaemon(
  command: string,
  args: readonly string[],
  pidFile: string,
): Promise<RunningProcess> {
  await runOk(command, args);
  await waitFor(() => readPid(pidFile) > 0, `the pid file of ${command}`);
  return new DaemonProcess(readPid(pidFile));
}
