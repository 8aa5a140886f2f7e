import { type ChildProcess, spawn } from 'node:child_process';
import { sshFailure } from './ssh-command.js';

/** How long the other side may take to greet, keys and all. */
const GREETING_MS = 60_000;
const READY = 'nbdelta-ready';

/**
 * The one connection that all commands of a host share (ssh's ControlMaster). It reads from us: when this process
 * ends, in whatever way, so does it.
 */
export class SshMaster implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #closed: Promise<void>;

  private constructor(child: ChildProcess, closed: Promise<void>) {
    this.#child = child;
    this.#closed = closed;
  }

  /** `args`: up to and with the destination. @throws HypervisorError HYPERVISOR_UNREACHABLE, HYPERVISOR_DENIED. */
  static async open(name: string, args: readonly string[]): Promise<SshMaster> {
    const child = spawn('ssh', [...args, `echo ${READY}; exec cat`], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, LC_ALL: 'C' },
    });
    child.stdin.on('error', () => undefined);
    const closed = new Promise<void>(resolve => child.once('close', () => resolve()));
    const timer = setTimeout(() => child.kill('SIGKILL'), GREETING_MS);
    try {
      await greeted(name, child);
    } finally {
      clearTimeout(timer);
    }
    // It lives for as long as there is other work.
    for (const one of [child, child.stdin, child.stdout, child.stderr]) (one as { unref?(): void }).unref?.();
    return new SshMaster(child, closed);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.ref();
    this.#child.stdin?.end();
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 5000);
    await this.#closed;
    clearTimeout(timer);
  }
}

async function greeted(name: string, child: ChildProcess): Promise<void> {
  let [said, complained] = ['', ''];
  child.stderr?.on('data', (chunk: Buffer) => {
    complained = (complained + chunk.toString('utf8')).slice(-4096);
  });
  await new Promise<void>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', () => reject(sshFailure(name, complained.trim().replace(/\s*\n\s*/g, '; '))));
    child.stdout?.on('data', (chunk: Buffer) => {
      said = (said + chunk.toString('utf8')).slice(-4096);
      if (said.includes(READY)) resolve();
    });
  });
}
