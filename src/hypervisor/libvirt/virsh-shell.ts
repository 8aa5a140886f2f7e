import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import type { ProgramResult } from '../host/run-program.js';
import { decodeAnswer, encodeCommand, isComplete } from './virsh-shell-codec.js';

/** Commands that only ask, and are soon answered. All others get a virsh of their own, with an exit code. */
const QUESTIONS: ReadonlySet<string> = new Set([
  ...['backup-dumpxml', 'capabilities', 'checkpoint-dumpxml', 'checkpoint-list', 'domblkinfo', 'domid'],
  ...['domjobinfo', 'domstate', 'dumpxml', 'list', 'uri', 'version'],
]);

/** Longest answer: a description. Bytes. */
const MAX_ANSWER = 64 << 20;
const TIMEOUT_MS = 30_000;

/**
 * One virsh that is kept and asked over its standard input: a question then takes about a millisecond instead of the 30 to 40
 * that starting a virsh takes, of which a backup would start some thirty. Whatever is odd about an answer is none:
 * then the caller asks a virsh of its own, which says it best.
 */
export class VirshShell implements Disposable {
  readonly #args: readonly string[];
  #child: ChildProcessWithoutNullStreams | undefined;
  #last: Promise<unknown> = Promise.resolve();
  /** It is not there, or does not behave as expected: asked no more. */
  #isUnfit = false;

  constructor(args: readonly string[]) {
    this.#args = args;
  }

  /** The answer to a question; `undefined` when it cannot be had this way. One after another. */
  async ask(command: string, options: readonly string[]): Promise<ProgramResult | undefined> {
    if (this.#isUnfit || !QUESTIONS.has(command)) return undefined;
    const mark = randomBytes(12).toString('hex');
    const line = encodeCommand([command, ...options], mark);
    if (line === undefined) return undefined;
    const answer = this.#last.then(() => this.#exchange(line, mark));
    this.#last = answer;
    return await answer;
  }

  async #exchange(line: string, mark: string): Promise<ProgramResult | undefined> {
    const child = this.#start();
    let [stdout, stderr] = ['', ''];
    const isOver = new Promise<boolean>(resolve => {
      const end = (complete: boolean) => {
        clearTimeout(timer);
        child.stdout.removeAllListeners('data');
        child.stderr.removeAllListeners('data');
        child.removeListener('close', onClose);
        holdProcess(child, false);
        resolve(complete);
      };
      const onClose = () => end(false);
      const timer = setTimeout(() => end(false), TIMEOUT_MS);
      const check = () => {
        if (stdout.length > MAX_ANSWER) end(false);
        else if (isComplete(stdout, stderr, mark)) end(true);
      };
      child.once('close', onClose);
      child.stdout.on('data', (text: string) => {
        stdout += text;
        check();
      });
      child.stderr.on('data', (text: string) => {
        stderr += text;
        check();
      });
      holdProcess(child, true);
      child.stdin.write(line);
    });
    const answer = (await isOver) ? decodeAnswer(stdout, stderr, mark) : undefined;
    if (answer === undefined) this.#giveUp();
    return answer;
  }

  #start(): ChildProcessWithoutNullStreams {
    if (this.#child !== undefined) return this.#child;
    const child = spawn('virsh', this.#args, { env: { ...process.env, LC_ALL: 'C' } });
    child.stdout.setEncoding('utf8');
    child.stderr.setEncoding('utf8');
    // What is written to one that has ended is lost, and its end tells.
    child.stdin.on('error', () => undefined);
    child.once('error', () => {
      this.#isUnfit = true;
      child.emit('close');
    });
    this.#child = child;
    return child;
  }

  /** The next question gets a new one: this one lost its connection, or hangs. */
  #giveUp(): void {
    this.#child?.kill('SIGKILL');
    this.#child = undefined;
  }

  [Symbol.dispose](): void {
    this.#isUnfit = true;
    this.#giveUp();
  }
}

/** Whether our process waits for it: for an answer, but not for a virsh that nobody asks any more. */
function holdProcess(child: ChildProcessWithoutNullStreams, isAsked: boolean): void {
  const pipes = [child.stdin, child.stdout, child.stderr] as unknown as readonly Socket[];
  for (const part of [child, ...pipes]) {
    if (isAsked) part.ref();
    else part.unref();
  }
}
