import { readFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

const BOOT_MS = 120_000;
const COMMAND_MS = 60_000;
const POKE_MS = 400;
const POLL_MS = 20;

export interface ShellResult {
  readonly code: number;
  readonly output: string;
}

/** Runs shell lines in the guest through its control port: see guest-init.sh. */
export class GuestShell implements Disposable {
  readonly #socket: Socket;
  readonly #console: string;
  #received = '';
  #next = 1;
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(socket: Socket, console: string) {
    this.#socket = socket;
    this.#console = console;
    socket.setEncoding('latin1').on('data', (text: string) => (this.#received += text));
    // A guest that ends takes its port along; whoever waits for an answer is told by #answer.
    socket.on('error', () => undefined);
  }

  /** Returns when the guest answers. `console` is the log that a failure is explained with. */
  static async open(port: string, console: string): Promise<GuestShell> {
    const deadline = Date.now() + BOOT_MS;
    const shell = new GuestShell(await connectTo(port), console);
    await shell.#becomesReady(deadline);
    // It may have heard more than one "ready"; lines are answered in order, so that nothing late comes after this.
    await shell.run(':');
    return shell;
  }

  async #becomesReady(deadline: number): Promise<void> {
    // What is sent before the guest listens is lost, and what it said before that is not for us.
    while (true) {
      this.#socket.write('\nRUN ready :\n');
      const wait = Date.now() + POKE_MS;
      while (Date.now() < wait) {
        if (this.#received.includes('==DONE ready 0')) return;
        await sleep(POLL_MS);
      }
      if (this.#socket.destroyed || Date.now() > deadline)
        throw await this.#failure('the guest did not boot');
    }
  }

  /** What the line printed; throws it when its exit code is not 0. Lines run one after the other. */
  async run(line: string, timeoutMs?: number): Promise<string> {
    const { code, output } = await this.tryRun(line, timeoutMs);
    if (code !== 0) throw new Error(`in the guest, ${line}: exit code ${code}: ${output}`);
    return output;
  }

  tryRun(line: string, timeoutMs = COMMAND_MS): Promise<ShellResult> {
    const result = this.#turn.then(() => this.#ask(line, timeoutMs));
    this.#turn = result.catch(() => undefined);
    return result;
  }

  /** For a line that ends the guest, and so is never answered. */
  send(line: string): void {
    this.#socket.write(`RUN last ${line}\n`);
  }

  async #ask(line: string, timeoutMs: number): Promise<ShellResult> {
    if (line.includes('\n')) throw new Error('one line at a time');
    const number = String(this.#next++);
    this.#received = '';
    this.#socket.write(`RUN ${number} ${line}\n`);
    return await this.#answer(number, line, Date.now() + timeoutMs);
  }

  async #answer(number: string, line: string, deadline: number): Promise<ShellResult> {
    const end = new RegExp(`==DONE ${number} (\\d+)\\r?\\n`);
    while (true) {
      const found = end.exec(this.#received);
      if (found !== null) {
        const output = this.#received.slice(0, found.index);
        return { code: Number(found[1]), output: output.replaceAll('\r', '') };
      }
      if (this.#socket.destroyed || Date.now() > deadline) throw await this.#failure(`no answer to ${line}`);
      await sleep(POLL_MS);
    }
  }

  async #failure(what: string): Promise<Error> {
    const log = await readFile(this.#console, 'latin1').catch(() => 'no console');
    return new Error(
      `${what}; received ${JSON.stringify(this.#received.slice(-500))}; console: ${log.slice(-2_000)}`,
    );
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }
}

async function connectTo(path: string): Promise<Socket> {
  const socket = connect({ path });
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  return socket;
}
