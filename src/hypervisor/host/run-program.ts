import { spawn } from 'node:child_process';
import { AbortedError, errorLine, HypervisorError, NbdeltaError } from '../../errors.js';

/** How much of a program's output is kept; more is an error, never a cut. Bytes. */
const MAX_OUTPUT = 64 << 20;

export interface RunOptions {
  /** Sent to its standard input. */
  readonly input?: string | Uint8Array | undefined;
  /** It is ended after this, and that is an error. Default 60 s. */
  readonly timeoutMs?: number | undefined;
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** In a session of its own: a Ctrl-C at the terminal, which reaches every program there, does not end it half-way. */
  readonly detached?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface ProgramResult {
  readonly code: number;
  readonly stdout: Buffer;
  /** On one line. */
  readonly stderr: string;
}

/**
 * Runs a program to its end, in the C locale. An exit code is a result.
 * @throws NbdeltaError TOOL_MISSING when it is not installed; HypervisorError HYPERVISOR_UNREACHABLE when it does
 *   not end in time.
 */
export async function runProgram(
  program: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<ProgramResult> {
  const { input, timeoutMs = 60_000, env, detached = false, signal } = options;
  signal?.throwIfAborted();
  const child = spawn(program, args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    detached,
    env: { ...process.env, LC_ALL: 'C', ...env },
  });
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  let kept = 0;
  let why: 'slow' | 'aborted' | 'large' | undefined;
  const stop = (reason: NonNullable<typeof why>) => {
    why ??= reason;
    child.kill('SIGKILL');
  };
  const keep = (list: Buffer[]) => (chunk: Buffer) => {
    kept += chunk.length;
    if (kept > MAX_OUTPUT) stop('large');
    else list.push(chunk);
  };
  child.stdout.on('data', keep(out));
  child.stderr.on('data', keep(err));
  // It may end before it has read its input: its exit code tells.
  child.stdin.on('error', () => undefined);
  child.stdin.end(input);
  const timer = setTimeout(() => stop('slow'), timeoutMs);
  const abort = () => stop('aborted');
  signal?.addEventListener('abort', abort, { once: true });
  try {
    const code = await new Promise<number>((resolve, reject) => {
      child.once('error', cause => reject(notStarted(program, cause)));
      child.once('close', (status, sent) => resolve(status ?? (sent === null ? 1 : 128)));
    });
    if (why === 'aborted') throw new AbortedError(program, signal?.reason);
    if (why !== undefined) throw stopped(program, why, timeoutMs);
    return { code, stdout: Buffer.concat(out), stderr: oneLine(Buffer.concat(err).toString('utf8')) };
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
  }
}

/** What a program said, as one line. */
export function oneLine(text: string): string {
  return text.trim().replace(/\s*\n\s*/g, '; ');
}

function notStarted(program: string, cause: Error): NbdeltaError {
  const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
  const why = missing ? 'it is not installed' : errorLine(cause);
  return new NbdeltaError('TOOL_MISSING', `${program} is needed: ${why}`, {
    cause,
    hint: missing ? `install ${program}` : 'see what the system says',
    fields: { tool: program },
  });
}

function stopped(program: string, why: 'slow' | 'large', timeoutMs: number): HypervisorError {
  const said =
    why === 'slow' ? `did not end within ${timeoutMs / 1000} s` : `printed more than ${MAX_OUTPUT} bytes`;
  return new HypervisorError('HYPERVISOR_UNREACHABLE', `${program} ${said}`, {
    hint: 'it may wait for the hypervisor: is that one alive?',
    fields: { tool: program },
  });
}
