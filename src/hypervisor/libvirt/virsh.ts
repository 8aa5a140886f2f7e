import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ProgramResult, runProgram } from '../host/run-program.js';
import { virshError } from './virsh-error.js';
import { VirshShell } from './virsh-shell.js';

/** A virsh command and its options by name: `{ domain: 'web1' }` is `--domain=web1`. */
export interface VirshCall {
  /** A switch is `true` or `false`; an array gives the option more than once; `undefined` leaves it out. */
  readonly options?: Readonly<Record<string, string | boolean | readonly string[] | undefined>>;
  /** Options whose value is a document, handed over in private files. */
  readonly documents?: Readonly<Record<string, string | undefined>>;
  /** Also what `--quiet` would not print. */
  readonly verbose?: boolean | undefined;
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Runs virsh. Values never stand alone on its command line: a domain called `--config` is not an option, and no
 * shell sees them.
 */
export class Virsh implements Disposable {
  readonly connect: string | undefined;
  readonly #shell: VirshShell;

  constructor(connect: string | undefined) {
    this.connect = connect;
    this.#shell = new VirshShell(this.#global({}));
  }

  /** What the command printed. @throws HypervisorError: see `virsh-error.ts`. NbdeltaError TOOL_MISSING. */
  async run(command: string, call: VirshCall = {}): Promise<string> {
    return await withDocuments(call.documents ?? {}, async files => {
      const options = formatOptions({ ...call.options, ...files });
      const { timeoutMs, signal, verbose } = call;
      const answer = verbose || timeoutMs ? undefined : await this.#shell.ask(command, options);
      if (answer !== undefined) return checked(command, answer);
      const args = [...this.#global(call), command, ...options];
      return checked(command, await runProgram('virsh', args, { timeoutMs, signal }));
    });
  }

  [Symbol.dispose](): void {
    this.#shell[Symbol.dispose]();
  }

  /** A command about one domain: name, uuid or number. */
  async domain(domain: string, command: string, call: VirshCall = {}): Promise<string> {
    return await this.run(command, { ...call, options: { domain, ...call.options } });
  }

  #global({ verbose }: VirshCall): readonly string[] {
    return [
      ...(verbose === true ? [] : ['--quiet']),
      ...(this.connect === undefined ? [] : [`--connect=${this.connect}`]),
    ];
  }
}

function checked(command: string, { code, stdout, stderr }: ProgramResult): string {
  if (code !== 0) throw virshError(command, stderr, code);
  return stdout.toString('utf8');
}

/** As virsh takes them: `--name=value`. */
export function formatOptions(options: NonNullable<VirshCall['options']>): readonly string[] {
  return Object.entries(options).flatMap(([name, value]) => {
    if (value === undefined || value === false) return [];
    if (value === true) return [`--${name}`];
    return [value].flat().map(one => `--${name}=${one}`);
  });
}

/** Writes documents to files that only we can read, for as long as `use` runs. */
async function withDocuments<T>(
  documents: NonNullable<VirshCall['documents']>,
  use: (files: Readonly<Record<string, string>>) => Promise<T>,
): Promise<T> {
  const given = Object.entries(documents).filter(
    (entry): entry is [string, string] => entry[1] !== undefined,
  );
  if (given.length === 0) return await use({});
  const folder = await mkdtemp(join(tmpdir(), 'nbdelta-xml-'));
  try {
    const files: Record<string, string> = {};
    for (const [name, text] of given) {
      const path = join(folder, `${name}.xml`);
      await writeFile(path, text, { mode: 0o600, flag: 'wx' });
      files[name] = path;
    }
    return await use(files);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
