import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import {
  type ReadyCondition,
  type RunningProcess,
  type RunOptions,
  type RunResult,
  run,
  startProcess,
} from '../support/processes.js';

export const BIN = fileURLToPath(new URL('../../bin/nbdelta.js', import.meta.url));

const ENVIRONMENT = { NBDELTA_REPOSITORY: '', NBDELTA_DEBUG: '', LC_ALL: 'C.UTF-8' };

/** Runs `nbdelta` as a user's shell does. */
export function nbdelta(args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  return run(process.execPath, [BIN, ...args], { ...options, env: { ...ENVIRONMENT, ...options.env } });
}

/** Runs a command that must succeed; returns what it printed. */
export async function nbdeltaOk(args: readonly string[], options: RunOptions = {}): Promise<string> {
  const result = await nbdelta(args, options);
  expect(result, `nbdelta ${args.join(' ')}: ${result.stderr}`).toMatchObject({ code: 0 });
  return result.stdout;
}

/** The one JSON document of a command that must succeed. */
export async function nbdeltaJson<Document>(args: readonly string[]): Promise<Document> {
  return JSON.parse(await nbdeltaOk([...args, '--json'])) as Document;
}

/** Starts a command and returns when it is ready. */
export function startNbdelta(args: readonly string[], ready: ReadyCondition): Promise<RunningProcess> {
  return startProcess(process.execPath, [BIN, ...args], { ready, env: ENVIRONMENT });
}

export interface ErrorJson {
  readonly error: {
    readonly code: string;
    readonly message: string;
    readonly hint: string | null;
    readonly fields: Readonly<Record<string, unknown>>;
    readonly exitCode: number;
  };
}

/**
 * Runs a command that must fail, as text and with `--json`: one line (and perhaps a hint), no stack trace,
 * nothing on stdout, and the same exit code and error both times.
 * @returns the error, and the line that people see.
 */
export async function nbdeltaFails(
  args: readonly string[],
  expected: { readonly exitCode: number; readonly code: string },
): Promise<ErrorJson['error']> {
  const text = await nbdelta(args);
  const what = `nbdelta ${args.join(' ')}: ${text.stderr}`;
  expect(text.code, what).toBe(expected.exitCode);
  expect(text.stdout, what).toBe('');
  expect(text.stderr, what).toMatch(/^nbdelta: [^\n]+\n( {2}hint: [^\n]+\n)?$/);
  expect(text.stderr, what).not.toMatch(/\bat .*(file:|node:|\.js:\d)/);
  const json = await nbdelta([...args, '--json']);
  expect(json.code, what).toBe(expected.exitCode);
  expect(json.stderr, what).toBe('');
  const { error } = JSON.parse(json.stdout) as ErrorJson;
  expect(error, what).toMatchObject({ code: expected.code, exitCode: expected.exitCode });
  expect(Object.keys(error).sort()).toEqual(['code', 'exitCode', 'fields', 'hint', 'message']);
  return error;
}
