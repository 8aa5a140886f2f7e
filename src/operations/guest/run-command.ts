import { spawn } from 'node:child_process';
import { AbortedError, type ErrorCode, NbdeltaError } from '../../errors.js';

/** How much of what a command says is kept for the message. */
const KEPT_OUTPUT = 4096;

export interface CommandOptions {
  /** What the user gave: `--pre-hook` … */
  readonly role: string;
  readonly code: ErrorCode;
  readonly hint: string;
  /** Added to our own environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Runs a command of the user's through `sh -c`, and waits for it.
 * @throws NbdeltaError of `code` when it does not end with 0; its last words are in the message.
 */
export async function runCommandLine(command: string, options: CommandOptions): Promise<void> {
  const { role, code, hint, env, signal } = options;
  if (signal?.aborted) throw new AbortedError(role, signal.reason);
  const child = spawn('/bin/sh', ['-c', command], {
    // Its output is no result of ours: it must not get between them.
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  });
  let said = '';
  const keep = (text: string) => {
    said = (said + text).slice(-KEPT_OUTPUT);
  };
  child.stdout.setEncoding('utf8').on('data', keep);
  child.stderr.setEncoding('utf8').on('data', keep);
  const stop = () => child.kill('SIGTERM');
  signal?.addEventListener('abort', stop, { once: true });
  try {
    const end = await new Promise<number | string>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (status, sent) => resolve(status ?? sent ?? 1));
    });
    if (signal?.aborted) throw new AbortedError(role, signal.reason);
    if (end === 0) return;
    const words = said.trim().replace(/\s*\n\s*/g, '; ');
    const ending = typeof end === 'number' ? `exit code ${end}` : end;
    throw new NbdeltaError(code, `${role} \`${command}\` ended with ${ending}${words && `: ${words}`}`, {
      hint,
      fields: { command, ended: end },
    });
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}
