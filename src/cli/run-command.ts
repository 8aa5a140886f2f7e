import { AbortedError, NbdeltaError, toNbdeltaError } from '../errors.js';
import type { ProgressListener } from '../operations/progress.js';
import type { View } from './display/view.js';
import { EXIT_OK } from './exit-codes.js';
import { catchInterrupts, type Interrupt } from './interrupt.js';
import { Output } from './output.js';
import { openProgress, type ProgressDisplay } from './progress/progress-display.js';
import { describeError, formatTrace, printError, printJsonError } from './report-error.js';

/** Options that every command has. */
export interface CommonOptions {
  readonly json?: boolean;
  readonly quiet?: boolean;
}

/** What a command found out or did, for people and for programs. */
export interface Outcome {
  readonly text: (view: View) => Iterable<string>;
  readonly json: () => unknown;
  /** The JSON document in pieces, when it is too large to be built at once. */
  readonly jsonPieces?: () => Iterable<string>;
}

/** What a command works with. */
export interface CommandContext {
  /**
   * Aborted by SIGINT or SIGTERM. Whoever reads it takes the duty to stop; for a command that never does, the
   * signals keep their default action.
   */
  readonly signal: AbortSignal;
  readonly onProgress: ProgressListener;
  /** Prints a result, once: as text or as the one JSON document. */
  print(outcome: Outcome): Promise<void>;
  /** Prints a part of a result that is told bit by bit: as text now, with `--json` not at all. */
  tell(text: Outcome['text']): Promise<void>;
  /** A remark for people, on stderr; not with `--quiet` or `--json`. */
  note(text: string): void;
  /** What is true after Ctrl-C, unless the error itself says what was left: `nothing was stored`. */
  whenStopped(left: string): void;
  /** Standard output carries data: results and errors go to stderr. */
  takeStdout(): void;
}

/** Does the work and says with which code to exit (0 when it says nothing). */
export type CommandWork = (context: CommandContext) => Promise<number | undefined>;

/** One run of one command: streams, signals, progress, and what becomes of an error. */
class CommandRun implements CommandContext {
  readonly #options: CommonOptions;
  readonly #stdout = new Output(process.stdout);
  readonly #stderr = new Output(process.stderr);
  readonly #progress: ProgressDisplay;
  #interrupt: Interrupt | undefined;
  #results = this.#stdout;
  #left: string | undefined;

  constructor(options: CommonOptions) {
    this.#options = options;
    this.#progress = openProgress(this.#stderr, { silent: options.quiet === true || options.json === true });
  }

  get signal(): AbortSignal {
    this.#interrupt ??= catchInterrupts(() => this.#progress.clear());
    return this.#interrupt.signal;
  }

  get onProgress(): ProgressListener {
    return progress => this.#progress.update(progress);
  }

  whenStopped(left: string): void {
    this.#left = left;
  }

  takeStdout(): void {
    this.#results = this.#stderr;
  }

  note(text: string): void {
    if (this.#options.quiet || this.#options.json) return;
    this.#progress.clear();
    this.#stderr.line(text);
  }

  async tell(text: Outcome['text']): Promise<void> {
    if (this.#options.json) return;
    this.#progress.clear();
    await this.#results.writeAll(endLines(text(this.#results.view)));
  }

  async print(outcome: Outcome): Promise<void> {
    this.#progress.clear();
    const output = this.#results;
    if (!this.#options.json) return output.writeAll(endLines(outcome.text(output.view)));
    if (outcome.jsonPieces) return output.writeAll(outcome.jsonPieces());
    output.line(JSON.stringify(outcome.json(), null, 2));
  }

  async execute(work: CommandWork): Promise<number> {
    try {
      const exitCode = (await work(this)) ?? EXIT_OK;
      await this.#stdout.flush();
      return exitCode;
    } catch (error) {
      return await this.#fail(error);
    } finally {
      this.#progress.clear();
      this.#interrupt?.[Symbol.dispose]();
    }
  }

  async #fail(thrown: unknown): Promise<number> {
    this.#progress.clear();
    const error = this.#asInterrupted(thrown);
    const document = describeError(error, this.#interrupt?.exitCode);
    if (process.env['NBDELTA_DEBUG']) this.#stderr.line(formatTrace(thrown));
    if (this.#options.json) await printJsonError(document, this.#results, this.#stderr);
    else printError(document, this.#stderr);
    return document.error.exitCode;
  }

  /** After Ctrl-C whatever broke broke because of it; only who stopped on purpose can say what was left. */
  #asInterrupted(error: unknown): unknown {
    if (!this.#interrupt?.signal.aborted) return error;
    const known = toNbdeltaError(error);
    if (known.code !== 'ABORTED') return new NbdeltaError('ABORTED', 'stopped on request', { cause: error });
    if (!(known instanceof AbortedError) || known.left !== undefined || !this.#left) return known;
    return new AbortedError('nbdelta', error, this.#left);
  }
}

function* endLines(lines: Iterable<string>): Generator<string, void, undefined> {
  for (const line of lines) yield `${line}\n`;
}

/** Runs a command's work and ends the process with its exit code. */
export async function runCommand(options: CommonOptions, work: CommandWork): Promise<never> {
  const code = await new CommandRun(options).execute(work);
  // Not only `exitCode`: a peer's socket that lingers must not keep a finished command alive.
  process.exit(code);
}
