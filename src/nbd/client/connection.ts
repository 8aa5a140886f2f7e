import { NbdConnectionError } from '../../errors.js';
import { decodeContextId } from '../protocol/block-status.js';
import type { ByteSink } from '../protocol/byte-sink.js';
import { NBD_CMD_BLOCK_STATUS, NBD_CMD_DISC, NBD_CMD_READ } from '../protocol/constants.js';
import { type ReplyHandler, ReplyStream } from '../protocol/reply-stream.js';
import { encodeRequest } from '../protocol/request.js';
import { wireFault } from '../protocol/wire-fault.js';
import type { BytePipe } from '../transport/byte-pipe.js';
import { type Command, type CommandRequest, commandFailed, commandLost, newCommand } from './command.js';
import type { ExportInfo } from './negotiate.js';
import type { Session } from './session.js';
import { decodeStatusRun, type StatusRun } from './status-run.js';

/** A reply that is overdue by this factor ends the connection even while other replies still come. */
const STARVATION_FACTOR = 10;

/** How long a server may take to let us go. */
const GOODBYE_MS = 1000;

/**
 * One connection in the transmission phase: any number of commands in flight, matched to their replies by
 * cookie. It neither splits nor retries; {@link NbdClient} does.
 */
export class Connection implements ReplyHandler<Command> {
  readonly info: ExportInfo;
  readonly #pipe: BytePipe;
  readonly #stream: ReplyStream<Command>;
  readonly #commands = new Map<number, Command>();
  readonly #watch: NodeJS.Timeout;
  readonly #timeoutMs: number;
  #nextCookie = 1;
  #bytesInFlight = 0;
  #progressAt = 0;
  #failure: Error | undefined;
  #ended: Promise<void> | undefined;

  constructor({ pipe, info }: Session, timeoutMs: number) {
    this.info = info;
    this.#pipe = pipe;
    this.#timeoutMs = timeoutMs;
    this.#stream = new ReplyStream(info.replyMode, this);
    pipe.attach(this.#sink(), error => this.#die(error));
    this.#watch = setInterval(() => this.#checkProgress(), Math.max(10, timeoutMs / 4)).unref();
  }

  /** Where the server is, for messages. */
  get server(): string {
    return this.#pipe.description;
  }

  get alive(): boolean {
    return this.#failure === undefined;
  }

  /** Bytes asked for and not yet answered; says how busy the connection is. */
  get bytesInFlight(): number {
    return this.#bytesInFlight;
  }

  #sink(): ByteSink {
    return {
      next: () => this.#stream.next(),
      advance: length => {
        this.#progressAt = performance.now();
        this.#stream.advance(length);
      },
    };
  }

  /**
   * Sends a command. READ data goes to `target`, which belongs to the connection until the promise settles.
   * @throws NbdCommandError when the server failed it, NbdConnectionError when the connection died.
   */
  async run(request: CommandRequest): Promise<void> {
    await this.#send(request);
  }

  /** BLOCK_STATUS: what each granted context says, from `offset` on. */
  async blockStatus(offset: number, length: number, flags: number): Promise<ReadonlyMap<string, StatusRun>> {
    const command = await this.#send({ type: NBD_CMD_BLOCK_STATUS, offset, length, flags });
    const runs = new Map<string, StatusRun>();
    for (const [name, id] of this.info.contexts) runs.set(name, command.status.get(id)!);
    return runs;
  }

  #send(request: CommandRequest): Promise<Command> {
    return new Promise((resolve, reject) => {
      const command: Command = newCommand(request, this.#nextCookie++, {
        resolve: () => resolve(command),
        reject,
      });
      if (this.#failure) {
        reject(commandLost(command, this.info.exportName, this.server, this.#failure));
        return;
      }
      this.#start(command, request);
    });
  }

  #start(command: Command, request: CommandRequest): void {
    if (this.#commands.size === 0) this.#progressAt = command.sentAt;
    this.#commands.set(command.cookie, command);
    this.#bytesInFlight += command.length;
    const header = encodeRequest(
      { ...request, flags: request.flags ?? 0, cookie: command.cookie },
      this.info.replyMode === 'extended',
    );
    this.#pipe.write(request.data ? [header, request.data] : [header]).catch(error => this.#die(error));
  }

  lookup(cookie: number): Command | undefined {
    return this.#commands.get(cookie);
  }

  dataTarget(command: Command, offset: number, length: number): Uint8Array {
    if (!command.target) throw wireFault(`data for ${command.type}, which is not a read`);
    command.coverage.add(offset, length);
    const at = offset - command.offset;
    return command.target.subarray(at, at + length);
  }

  onHole(command: Command, offset: number, length: number): void {
    this.dataTarget(command, offset, length).fill(0);
  }

  onStatus(command: Command, payload: Buffer, extended: boolean): void {
    if (command.type !== NBD_CMD_BLOCK_STATUS) throw wireFault(`block status for command ${command.type}`);
    const id = decodeContextId(payload);
    if (![...this.info.contexts.values()].includes(id)) throw wireFault(`unknown meta context id ${id}`);
    if (command.status.has(id)) throw wireFault(`two block status chunks for meta context id ${id}`);
    command.status.set(id, decodeStatusRun(payload, extended, command.offset));
  }

  onError(command: Command, errno: number, message: string, offset: number | undefined): void {
    command.error ??= commandFailed(command, this.info.exportName, errno, message, offset);
  }

  onDone(command: Command): void {
    const incomplete = command.error ? undefined : missing(command, this.info);
    if (incomplete) throw wireFault(incomplete);
    this.#commands.delete(command.cookie);
    this.#bytesInFlight -= command.length;
    if (command.error) command.reject(command.error);
    else command.resolve();
  }

  #checkProgress(): void {
    const oldest = this.#commands.values().next().value;
    if (!oldest || this.#failure) return;
    const now = performance.now();
    const silent = now - Math.max(this.#progressAt, oldest.sentAt);
    const starved = now - oldest.sentAt > this.#timeoutMs * STARVATION_FACTOR;
    if (silent <= this.#timeoutMs && !starved) return;
    this.#die(
      new NbdConnectionError('NBD_TIMEOUT', `no reply within ${this.#timeoutMs} ms`, {
        hint: 'the server or the storage behind it hangs; a longer --timeout helps when it is only slow',
        retryable: true,
      }),
    );
  }

  /** Commands settle only when the socket is closed: until then the kernel may write into their targets. */
  #die(failure: Error): void {
    if (this.#failure) return;
    this.#failure = failure;
    clearInterval(this.#watch);
    this.#ended = this.#pipe.destroy().then(() => this.#rejectAll(failure));
  }

  #rejectAll(failure: Error): void {
    for (const command of this.#commands.values()) {
      command.reject(commandLost(command, this.info.exportName, this.server, failure));
    }
    this.#commands.clear();
    this.#bytesInFlight = 0;
  }

  /**
   * Leaves politely (NBD_CMD_DISC), as a server may crash when it is stopped under a connected client.
   * Commands still in flight get an error. Safe to call twice.
   */
  async close(): Promise<void> {
    if (!this.#failure) {
      this.#failure = new Error('the connection was closed by us');
      clearInterval(this.#watch);
      this.#ended = this.#disconnect(this.#failure);
    }
    await this.#ended;
  }

  async #disconnect(failure: Error): Promise<void> {
    const request = { type: NBD_CMD_DISC, flags: 0, cookie: 0, offset: 0, length: 0 };
    const sent = this.#pipe.write([encodeRequest(request, this.info.replyMode === 'extended')]);
    // A server that is gone or does not read cannot be left politely; the socket is dropped all the same.
    await settledWithin(GOODBYE_MS, sent);
    await (this.#commands.size > 0 ? this.#pipe.destroy() : this.#pipe.end(GOODBYE_MS));
    this.#rejectAll(failure);
  }
}

/** Waits until a promise is settled, one way or the other, or the time is over. */
async function settledWithin(milliseconds: number, promise: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const patience = new Promise<void>(resolve => {
    timer = setTimeout(resolve, milliseconds);
  });
  await Promise.race([Promise.allSettled([promise]), patience]);
  clearTimeout(timer);
}

/** Why a reply without an error is not complete; undefined when it is. */
function missing(command: Command, info: ExportInfo): string | undefined {
  if (command.type === NBD_CMD_READ && command.coverage.bytes !== command.length) {
    return `read reply covers ${command.coverage.bytes} of ${command.length} bytes`;
  }
  if (command.type === NBD_CMD_BLOCK_STATUS && command.status.size !== info.contexts.size) {
    return `block status reply for ${command.status.size} of ${info.contexts.size} meta contexts`;
  }
  return undefined;
}
