import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { AbortedError, NbdeltaError } from '../../errors.js';
import { EndMark } from './end-mark.js';
import { endPrograms } from './end-programs.js';
import { guestfishFailed, guestfishMissing } from './guestfish-failure.js';

/** Longest wait for guestfish to end by itself, and then after each signal. */
const END_TIMEOUT_MS = 10_000;
/** Most bytes of a reply that is held at once; what is larger is streamed. */
const MAX_REPLY = 64 << 20;
/** Most of what guestfish complains that is kept for one command. */
const MAX_COMPLAINT = 64 << 10;

export interface GuestfishOptions {
  /** On top of our own environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
}

/** Takes a reply's pieces in order; while it waits, guestfish waits. */
export type ReplySink = (bytes: Buffer) => Promise<void> | void;

/**
 * A guestfish that takes one command after the other on its standard input, and ends with it: also when we are
 * killed. Replies come over a descriptor of their own, complaints on stderr, both up to a mark:
 *
 *     -COMMAND WORDS | cat >&3; echo MARK >&3; echo MARK >&2
 *
 * `-` lets it go on after an error; `| cat` gives the command a real pipe, because guestfish writes files to
 * /dev/stdout, which cannot be opened when it is a socket, as node's pipes are.
 */
export class GuestfishSession implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #signal: AbortSignal | undefined;
  readonly #ended: Promise<void>;
  readonly #abort = () => void this.#stop();
  #started: Error | undefined;

  private constructor(child: ChildProcess, signal: AbortSignal | undefined) {
    this.#child = child;
    this.#signal = signal;
    this.#ended = new Promise(resolve => {
      child.once('error', cause => {
        this.#started = cause;
        resolve();
      });
      child.once('exit', () => resolve());
    });
    // It may end before it has read its input: the missing reply tells.
    child.stdin!.on('error', () => undefined);
    signal?.addEventListener('abort', this.#abort, { once: true });
  }

  /** @throws NbdeltaError TOOL_MISSING with the first command, when guestfish is not installed. */
  static start({ env, signal }: GuestfishOptions): GuestfishSession {
    if (signal?.aborted) throw new AbortedError('files', signal.reason);
    const child = spawn('guestfish', ['--ro'], {
      stdio: ['pipe', 'ignore', 'pipe', 'pipe'],
      // Ctrl-C at the terminal is for us: we end it in order.
      detached: true,
      env: { ...process.env, ...env, LC_ALL: 'C' },
    });
    return new GuestfishSession(child, signal);
  }

  /**
   * Runs a command and returns its whole reply.
   * @param words the command, then its arguments as {@link quoteWord} writes them.
   * @throws NbdeltaError as `guestfishFailed` says.
   */
  async command(...words: readonly string[]): Promise<Buffer> {
    const pieces: Buffer[] = [];
    let length = 0;
    await this.stream(words, bytes => {
      length += bytes.length;
      if (length > MAX_REPLY)
        throw new NbdeltaError('TOOL_MISSING', `guestfish's answer is too long: over ${MAX_REPLY} bytes`);
      pieces.push(bytes);
    });
    return Buffer.concat(pieces);
  }

  /** Like {@link command}, with a reply of any length. After an error of `sink` the session is of no use. */
  async stream(words: readonly string[], sink: ReplySink): Promise<void> {
    if (this.#signal?.aborted) throw new AbortedError('files', this.#signal.reason);
    const mark = randomBytes(16).toString('hex');
    const [reply, complaint] = [this.#child.stdio[3] as Readable, this.#child.stderr!];
    const complaints: Buffer[] = [];
    let kept = 0;
    const keep = (bytes: Buffer) => {
      kept += bytes.length;
      if (kept <= MAX_COMPLAINT) complaints.push(bytes);
    };
    const line = `-${words.join(' ')} | cat >&3; echo ${mark} >&3; echo ${mark} >&2\n`;
    (this.#child.stdin as Writable).write(line);
    const [, whole] = await Promise.all([
      receive(reply, `${mark}\n`, sink),
      receive(complaint, `${mark}\n`, keep),
    ]);
    if (this.#signal?.aborted) throw new AbortedError('files', this.#signal.reason);
    if (this.#started) throw guestfishMissing(this.#started);
    const text = Buffer.concat(complaints).toString('utf8');
    if (!whole || /libguestfs: error:/.test(text)) throw guestfishFailed(words[0]!, text);
  }

  /** In the middle of a command. What cannot be ended this way is when the session is closed. */
  async #stop(): Promise<void> {
    this.#child.stdin!.end();
    if (this.#child.pid !== undefined) await endPrograms(this.#child.pid).catch(() => this.#child.kill());
  }

  /** Lets it take down its appliance. Safe twice. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#signal?.removeEventListener('abort', this.#abort);
    this.#child.stdin!.end();
    // Nobody reads them any more: it must not wait for that.
    (this.#child.stdio[3] as Readable).destroy();
    this.#child.stderr!.resume();
    for (const step of ['wait', 'SIGTERM', 'SIGKILL'] as const) {
      if (step !== 'wait') this.#child.kill(step);
      const over = this.#ended.then(() => true);
      if (await Promise.race([over, delay(END_TIMEOUT_MS, false, { ref: false })])) return;
    }
  }
}

/** @returns whether the mark came; the stream may end before. */
async function receive(stream: Readable, mark: string, sink: ReplySink): Promise<boolean> {
  const end = new EndMark(mark);
  for await (const piece of stream.iterator({ destroyOnReturn: false })) {
    const { bytes, ended } = end.push(piece as Buffer);
    if (bytes.length > 0) await sink(bytes);
    if (ended) return true;
  }
  return false;
}
