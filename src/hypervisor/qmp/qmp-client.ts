import { randomBytes } from 'node:crypto';
import { lstat } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import type * as z from 'zod';
import { AbortedError, errorLine, HypervisorError } from '../../errors.js';
import {
  decodeQmpMessage,
  encodeQmpCommand,
  LineSplitter,
  type QmpArguments,
  type QmpEvent,
  type QmpMessage,
} from './qmp-codec.js';
import { QemuGoneError, QmpCommandError, QmpLostError } from './qmp-error.js';

/** A monitor serves one client: another one waits for its greeting, and a short-lived one will be gone in this time. */
const GREETING_TIMEOUT_MS = 10_000;
/** QEMU answers at once, unless it waits for a disk. */
const COMMAND_TIMEOUT_MS = 60_000;
/** The schema has 200 KiB, the nodes of a guest 1 KiB each. */
const MAX_LINE = 64 << 20;
/** What happens without an event is seen after this. */
const LOOK_AGAIN_MS = 250;

export interface QmpClientOptions {
  readonly greetingTimeoutMs?: number | undefined;
  readonly commandTimeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

interface Waiter {
  readonly command: string;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** One connection to a QMP monitor. Commands are answered by id; what is not QMP ends it for all of them. */
export class QmpClient implements AsyncDisposable {
  readonly path: string;
  readonly #socket: Socket;
  readonly #commandTimeoutMs: number;
  readonly #lines = new LineSplitter(MAX_LINE);
  readonly #waiters = new Map<string, Waiter>();
  readonly #listeners = new Set<(event: QmpEvent) => void>();
  readonly #closing = new AbortController();
  /** QEMU gives the answers that a client before us did not wait for to us: ours must not be mistaken for them. */
  readonly #idPrefix = randomBytes(8).toString('hex');
  #nextId = 1;
  #greeted: (version: string) => void = () => undefined;
  #version = '';

  private constructor(path: string, socket: Socket, options: QmpClientOptions) {
    this.path = path;
    this.#socket = socket;
    this.#commandTimeoutMs = options.commandTimeoutMs ?? COMMAND_TIMEOUT_MS;
    socket.on('data', bytes => this.#receive(bytes));
    socket.on('error', cause => this.#end(new QmpLostError(path, cause)));
    socket.on('close', () => this.#end(new QmpLostError(path)));
  }

  /**
   * Connects, and leaves the negotiation mode.
   * @throws HypervisorError HYPERVISOR_UNREACHABLE: nobody listens ({@link QemuGoneError}), somebody else has the
   *   monitor, or it does not speak QMP; HYPERVISOR_DENIED.
   */
  static async open(path: string, options: QmpClientOptions = {}): Promise<QmpClient> {
    if (options.signal?.aborted) throw new AbortedError(`QMP ${path}`, options.signal.reason);
    const client = new QmpClient(path, await openSocket(path), options);
    const abort = () => client.#end(new AbortedError(`QMP ${path}`, options.signal?.reason));
    options.signal?.addEventListener('abort', abort, { once: true });
    if (options.signal?.aborted) abort();
    try {
      client.#version = await client.#greeting(options.greetingTimeoutMs ?? GREETING_TIMEOUT_MS);
      await client.execute('qmp_capabilities');
      return client;
    } catch (error) {
      client.#end(new QmpLostError(path));
      throw error;
    } finally {
      options.signal?.removeEventListener('abort', abort);
    }
  }

  /** QEMU's, as it greeted: `7.2.22`. */
  get version(): string {
    return this.#version;
  }

  /** Aborted, with the reason, when the connection has ended. */
  get closed(): AbortSignal {
    return this.#closing.signal;
  }

  #greeting(timeoutMs: number): Promise<string> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#end(unheard(this.path, timeoutMs)), timeoutMs);
      const ended = () => reject(this.closed.reason);
      this.closed.addEventListener('abort', ended, { once: true });
      if (this.closed.aborted) ended();
      this.#greeted = version => {
        clearTimeout(timer);
        this.closed.removeEventListener('abort', ended);
        resolve(version);
      };
      this.closed.addEventListener('abort', () => clearTimeout(timer), { once: true });
    });
  }

  /** @throws QmpCommandError what QEMU answered; HypervisorError HYPERVISOR_UNREACHABLE when it did not. */
  async execute(command: string, args: QmpArguments = {}): Promise<unknown> {
    if (this.closed.aborted) throw this.closed.reason;
    const id = `${this.#idPrefix}-${this.#nextId++}`;
    const timeoutMs = this.#commandTimeoutMs;
    // Its answer may come at any time later: the connection is of no use any more.
    const timer = setTimeout(() => this.#end(unanswered(this.path, command, timeoutMs)), timeoutMs);
    try {
      return await new Promise((resolve, reject) => {
        this.#waiters.set(id, { command, resolve, reject });
        this.#socket.write(encodeQmpCommand(id, command, args));
      });
    } finally {
      clearTimeout(timer);
    }
  }

  /** {@link execute}, for an answer that is looked at. */
  async query<Schema extends z.ZodType>(
    command: string,
    schema: Schema,
    args: QmpArguments = {},
  ): Promise<z.output<Schema>> {
    const parsed = schema.safeParse(await this.execute(command, args));
    if (parsed.success) return parsed.data;
    const { message, path = [] } = parsed.error.issues[0] ?? { message: 'no reason given' };
    const why = `${message} at ${path.join('.')}`;
    throw new HypervisorError('HYPERVISOR_FAILED', `QEMU's answer to ${command} is not as expected: ${why}`, {
      cause: parsed.error,
      fields: { command },
    });
  }

  /** Calls `listener` with each event until disposed. */
  onEvent(listener: (event: QmpEvent) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) };
  }

  /**
   * Resolves when `condition` does: asked again after every event, which only says that there is something to see,
   * and now and then. @throws HypervisorError HYPERVISOR_UNREACHABLE when it takes too long.
   */
  async until(what: string, condition: () => Promise<boolean>): Promise<void> {
    const deadline = Date.now() + this.#commandTimeoutMs;
    let wake: () => void = () => undefined;
    using _events = this.onEvent(() => wake());
    for (;;) {
      let timer: NodeJS.Timeout | undefined;
      // Before the question: an event during the question is not missed.
      const changed = new Promise<void>(resolve => {
        wake = resolve;
        timer = setTimeout(resolve, LOOK_AGAIN_MS);
      });
      try {
        if (await condition()) return;
        await changed;
      } finally {
        clearTimeout(timer);
      }
      if (Date.now() > deadline) throw unanswered(this.path, what, this.#commandTimeoutMs);
    }
  }

  #receive(bytes: Buffer): void {
    try {
      for (const line of this.#lines.push(bytes)) this.#take(decodeQmpMessage(line));
    } catch (cause) {
      this.#end(notQmp(this.path, cause));
    }
  }

  #take(message: QmpMessage): void {
    if (message.kind === 'event') {
      for (const listener of this.#listeners) listener(message.event);
    } else if (message.kind === 'greeting') {
      this.#greeted(message.version);
    } else {
      this.#answer(message);
    }
  }

  #answer(reply: Extract<QmpMessage, { readonly kind: 'return' | 'error' }>): void {
    const waiter = reply.id === undefined ? undefined : this.#waiters.get(reply.id);
    if (reply.id === undefined || waiter === undefined) return;
    this.#waiters.delete(reply.id);
    if (reply.kind === 'return') waiter.resolve(reply.value);
    else waiter.reject(new QmpCommandError(waiter.command, reply.errorClass, reply.text));
  }

  #end(reason: Error): void {
    if (this.closed.aborted) return;
    this.#closing.abort(reason);
    this.#socket.destroy();
    for (const { reject } of this.#waiters.values()) reject(reason);
    this.#waiters.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise(resolve => this.#socket.once('close', resolve));
    if (this.#socket.closed) return;
    this.#end(new QmpLostError(this.path));
    await closed;
  }
}

async function openSocket(path: string): Promise<Socket> {
  const socket = connect(path);
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve).once('error', reject);
    });
  } catch (cause) {
    socket.destroy();
    throw await notConnected(path, cause as NodeJS.ErrnoException);
  }
  socket.removeAllListeners('error');
  return socket;
}

async function notConnected(path: string, cause: NodeJS.ErrnoException): Promise<HypervisorError> {
  switch (cause.code) {
    case 'ENOENT':
      return new QemuGoneError(`there is no QMP socket ${path}`, cause);
    case 'ECONNREFUSED':
    case 'ENOTSOCK': {
      const isSocket = await lstat(path).then(
        found => found.isSocket() || found.isSymbolicLink(),
        () => true, // gone in the meantime
      );
      return isSocket
        ? new QemuGoneError(`nobody listens at the QMP socket ${path}`, cause)
        : new HypervisorError('HYPERVISOR_UNREACHABLE', `${path} is no socket`, { cause, hint: SOCKET_HINT });
    }
    case 'EACCES':
    case 'EPERM':
      return new HypervisorError('HYPERVISOR_DENIED', `we may not connect to the QMP socket ${path}`, {
        cause,
        hint: 'run as the user of that QEMU, or as root',
      });
    case 'EAGAIN':
      // Its queue is full: somebody else waits already.
      return busy(path, 'others wait for it already');
    default:
      return new HypervisorError('HYPERVISOR_UNREACHABLE', `${path}: ${errorLine(cause)}`, {
        cause,
        hint: SOCKET_HINT,
      });
  }
}

const SOCKET_HINT = 'write qmp:SOCKET with the socket of -qmp unix:SOCKET,server=on,wait=off';

function unheard(path: string, timeoutMs: number): HypervisorError {
  return busy(path, `it did not greet within ${timeoutMs / 1000} s`);
}

function busy(path: string, seen: string): HypervisorError {
  return new HypervisorError('HYPERVISOR_UNREACHABLE', `the QMP socket ${path} does not serve us: ${seen}`, {
    hint: 'a monitor serves one client at a time: give nbdelta one of its own, with another -qmp option',
    retryable: true,
  });
}

function unanswered(path: string, what: string, timeoutMs: number): HypervisorError {
  return new HypervisorError(
    'HYPERVISOR_UNREACHABLE',
    `QEMU at ${path} did not finish ${what} within ${timeoutMs / 1000} s`,
    { hint: "it may wait for a disk that does not answer: see the guest's storage" },
  );
}

function notQmp(path: string, cause: unknown): HypervisorError {
  return new HypervisorError('HYPERVISOR_UNREACHABLE', `${path} does not speak QMP; ${errorLine(cause)}`, {
    cause,
    hint: SOCKET_HINT,
  });
}
