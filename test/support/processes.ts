import { type ChildProcess, spawn } from 'node:child_process';
import { connect, createServer, type NetConnectOpts } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { findProgram } from './programs.js';

const POLL_MS = 20;
const READY_TIMEOUT_MS = 20_000;
const ANSWER_TIMEOUT_MS = 2000;
/** A busy machine may need some: a QEMU that is killed leaves its bitmaps inconsistent. */
const TERM_TIMEOUT_MS = 20_000;
const RUN_TIMEOUT_MS = 60_000;

/** What is known of a running program, for a condition to look at. */
export interface ProcessOutput {
  readonly pid: number;
  /** Everything that it has written so far. */
  readonly stdout: string;
  readonly stderr: string;
}

/** Whether a started program is ready; asked again and again. */
export type ReadyCondition = (output: ProcessOutput) => boolean | Promise<boolean>;

export interface StartOptions {
  readonly ready: ReadyCondition;
  readonly readyTimeoutMs?: number;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
}

export interface RunningProcess extends ProcessOutput, AsyncDisposable {
  readonly isRunning: boolean;
  /** Settles when the program has ended: exit code, or the signal's name. */
  readonly ended: Promise<number | NodeJS.Signals>;
  /** SIGTERM, after 20 s SIGKILL; returns when the program is gone. Safe twice. */
  stop(): Promise<void>;
  /** SIGKILL at once, as a power cut would. */
  kill(): Promise<void>;
}

/** Children still alive: none may outlive a test worker that crashes. */
const alive = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of alive) child.kill('SIGKILL');
});

class StartedProcess implements RunningProcess {
  readonly pid: number;
  readonly ended: Promise<number | NodeJS.Signals>;
  readonly #child: ChildProcess;
  readonly #stdout: string[] = [];
  readonly #stderr: string[] = [];
  #isRunning = true;

  constructor(child: ChildProcess, pid: number) {
    this.#child = child;
    this.pid = pid;
    alive.add(child);
    child.stdout?.setEncoding('utf8').on('data', (text: string) => this.#stdout.push(text));
    child.stderr?.setEncoding('utf8').on('data', (text: string) => this.#stderr.push(text));
    // 'close' comes after the last output, so that an early death's reason is complete.
    this.ended = new Promise(resolve => {
      child.once('close', (code, signal) => {
        this.#isRunning = false;
        alive.delete(child);
        resolve(code ?? signal ?? 'SIGKILL');
      });
    });
  }

  get stdout(): string {
    return this.#stdout.join('');
  }

  get stderr(): string {
    return this.#stderr.join('');
  }

  get isRunning(): boolean {
    return this.#isRunning;
  }

  async stop(): Promise<void> {
    if (!this.#isRunning) return;
    this.#child.kill('SIGTERM');
    const patience = setTimeout(() => this.#child.kill('SIGKILL'), TERM_TIMEOUT_MS);
    await this.ended;
    clearTimeout(patience);
  }

  async kill(): Promise<void> {
    if (this.#isRunning) this.#child.kill('SIGKILL');
    await this.ended;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

/**
 * The command line, under util-linux's `setpriv` where there is one: the kernel then ends the program with
 * this process, even when a test worker is killed.
 */
function commandLine(command: string, args: readonly string[]): [string, string[]] {
  const [program, setpriv] = [findProgram(command), findProgram('setpriv')];
  if (program === undefined || setpriv === undefined) return [program ?? command, [...args]];
  return [setpriv, ['--pdeathsig', 'KILL', '--', program, ...args]];
}

async function spawnProgram(command: string, args: readonly string[], options: StartOptions) {
  const child = spawn(...commandLine(command, args), {
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: { ...process.env, ...options.env },
  });
  await new Promise((resolve, reject) => child.once('spawn', resolve).once('error', reject));
  return new StartedProcess(child, child.pid!);
}

async function waitUntilReady(started: RunningProcess, what: string, options: StartOptions): Promise<void> {
  const deadline = Date.now() + (options.readyTimeoutMs ?? READY_TIMEOUT_MS);
  while (!(await options.ready(started))) {
    if (!started.isRunning) {
      throw new Error(
        `${what} ended (${await started.ended}) before it was ready: ${started.stderr}${started.stdout}`,
      );
    }
    if (Date.now() > deadline) throw new Error(`${what} is not ready in time: ${started.stderr}`);
    await sleep(POLL_MS);
  }
}

/**
 * Starts a program and returns when it is ready. Throws with the program's own words when it ends before
 * that. `await using` stops it, by its pid.
 */
export async function startProcess(
  command: string,
  args: readonly string[],
  options: StartOptions,
): Promise<RunningProcess> {
  const started = await spawnProgram(command, args, options);
  try {
    await waitUntilReady(started, `${command} ${args.join(' ')}`, options);
  } catch (error) {
    await started.kill();
    throw error;
  }
  return started;
}

/** Ready when the port of 127.0.0.1 takes a connection. */
export function portAccepts(port: number): ReadyCondition {
  return () => answersWith('connect', { host: '127.0.0.1', port });
}

/**
 * Ready when whoever listens sends something unasked. A server may listen before it has looked at its arguments:
 * the kernel takes connections for it even when it is about to end.
 */
export function greets(target: { readonly path: string } | { readonly port: number }): ReadyCondition {
  return () => answersWith('data', 'port' in target ? { host: '127.0.0.1', port: target.port } : target);
}

/** Whether a new connection gets as far as `event`. */
function answersWith(event: 'connect' | 'data', target: NetConnectOpts): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(target);
    const finish = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.once(event, () => finish(true)).on('error', () => finish(false));
    socket.once('close', () => finish(false)).setTimeout(ANSWER_TIMEOUT_MS, () => finish(false));
  });
}

/** Ready when the pattern occurs in what the program printed. */
export function outputMatches(pattern: RegExp): ReadyCondition {
  return output => pattern.test(output.stdout) || pattern.test(output.stderr);
}

/** A port of 127.0.0.1 that nobody listened on a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise(resolve => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no address of a listening socket');
  return address.port;
}

/** Waits for a condition of any kind; throws with `what` when it does not come true in time. */
export async function waitFor(
  condition: () => boolean | Promise<boolean>,
  what: string,
  timeoutMs = READY_TIMEOUT_MS,
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`waited ${timeoutMs} ms in vain for: ${what}`);
    await sleep(POLL_MS);
  }
}

export interface RunOptions {
  /** Sent to the program's standard input. */
  readonly input?: string | Uint8Array;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** The program is killed after this; 60 s by default. */
  readonly timeoutMs?: number;
}

export interface RunResult {
  /** Exit code, or null when a signal ended the program. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end. A failure is a result, not an exception. */
export async function run(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<RunResult> {
  const child = spawn(findProgram(command) ?? command, [...args], {
    stdio: 'pipe',
    timeout: options.timeoutMs ?? RUN_TIMEOUT_MS,
    killSignal: 'SIGKILL',
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: { ...process.env, ...options.env },
  });
  alive.add(child);
  const output = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (output.stderr += text));
  // A program may end before it has read its input: that is its right, and its exit code tells.
  child.stdin.on('error', () => undefined);
  child.stdin.end(options.input);
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject).once('close', resolve);
  }).finally(() => alive.delete(child));
  return { code, ...output };
}

/** Like {@link run}, for a program that must succeed: returns what it printed, throws its stderr otherwise. */
export async function runOk(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<string> {
  const result = await run(command, args, options);
  if (result.code === 0) return result.stdout;
  throw new Error(`${command} ${args.join(' ')} failed (${result.code}): ${result.stderr}${result.stdout}`);
}
