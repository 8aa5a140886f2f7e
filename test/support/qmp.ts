import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { waitFor } from './processes.js';

/** A JSON object of QMP. */
export type QmpObject = Readonly<Record<string, unknown>>;

export interface QmpEvent {
  readonly event: string;
  readonly data: QmpObject;
}

/** An error that QEMU answered a command with. */
export class QmpCommandError extends Error {
  constructor(command: string, description: string) {
    super(`${command}: ${description}`);
    this.name = 'QmpCommandError';
  }
}

interface Waiter {
  readonly command: string;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

function asObject(value: unknown): QmpObject {
  return typeof value === 'object' && value !== null ? (value as QmpObject) : {};
}

/** The least of a QMP client: one line of JSON each way, replies in order, events kept. The tests' own. */
export class TestQmp implements AsyncDisposable {
  readonly #socket: Socket;
  readonly #waiters: Waiter[] = [];
  readonly #events: QmpEvent[] = [];

  private constructor(socket: Socket) {
    this.#socket = socket;
    const ignore = (): void => undefined; // 'close' follows and tells everyone who waits
    socket.on('error', ignore);
    createInterface({ input: socket })
      .on('line', line => this.#take(asObject(JSON.parse(line))))
      .on('error', ignore);
    socket.on('close', () => {
      for (const { command, reject } of this.#waiters.splice(0)) {
        reject(new Error(`${command}: QMP connection ended`));
      }
    });
  }

  static async open(path: string): Promise<TestQmp> {
    const socket = connect(path);
    await once(socket, 'connect');
    const qmp = new TestQmp(socket);
    await qmp.execute('qmp_capabilities');
    return qmp;
  }

  #take(message: QmpObject): void {
    if (typeof message['event'] === 'string') {
      this.#events.push({ event: message['event'], data: asObject(message['data']) });
      return;
    }
    if ('QMP' in message) return;
    const waiter = this.#waiters.shift();
    if (waiter === undefined) return;
    const description = asObject(message['error'])['desc'];
    if (description === undefined) waiter.resolve(message['return']);
    else waiter.reject(new QmpCommandError(waiter.command, String(description)));
  }

  /** Sends a command and returns its `return` value. Throws {@link QmpCommandError}. */
  execute(command: string, args: QmpObject = {}): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#socket.destroyed) reject(new Error(`${command}: QMP connection ended`));
      this.#waiters.push({ command, resolve, reject });
      this.#socket.write(`${JSON.stringify({ execute: command, arguments: args })}\n`);
    });
  }

  /** Waits for an event that fits and takes it, with all older ones of its name. */
  async event(name: string, fits: (data: QmpObject) => boolean = () => true): Promise<QmpObject> {
    let found = -1;
    const find = (): boolean => {
      found = this.#events.findIndex(({ event, data }) => event === name && fits(data));
      return found >= 0;
    };
    await waitFor(find, `QMP event ${name}`);
    const { data } = this.#events[found]!;
    const kept = this.#events.filter(({ event }, index) => index > found || event !== name);
    this.#events.splice(0, this.#events.length, ...kept);
    return data;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#socket.closed) return;
    const closed = once(this.#socket, 'close');
    this.#socket.destroy();
    await closed;
  }
}
