import { AbortedError, NbdCommandError, NbdConnectionError, NbdeltaError, UsageError } from '../../errors.js';
import {
  NBD_CMD_CACHE,
  NBD_CMD_FLAG_DF,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_NO_HOLE,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_EOVERFLOW,
  NBD_FLAG_CAN_MULTI_CONN,
  NBD_FLAG_READ_ONLY,
  NBD_FLAG_SEND_CACHE,
  NBD_FLAG_SEND_DF,
  NBD_FLAG_SEND_FLUSH,
  NBD_FLAG_SEND_FUA,
  NBD_FLAG_SEND_TRIM,
  NBD_FLAG_SEND_WRITE_ZEROES,
} from '../protocol/constants.js';
import { describeUri, type NbdUri, parseNbdUri } from '../protocol/uri.js';
import { type ClientOptions, type ResolvedOptions, resolveOptions } from './client-options.js';
import type { CommandRequest } from './command.js';
import type { Connection } from './connection.js';
import { ConnectionPool } from './connection-pool.js';
import type { ExportInfo } from './negotiate.js';
import { ReadWindow } from './read-window.js';
import { alignOutward, cutRange, splitRange } from './request-ranges.js';
import { runParts } from './run-parts.js';
import type { StatusRun } from './status-run.js';

/** Largest length that a compact block status, trim or write-zeroes request can carry, kept aligned. Bytes. */
const MAX_COMPACT_RANGE = 0x80000000;

/** Commands of one read at once: a server's maximum may be so small that a read takes millions. */
const MAX_PARTS_IN_FLIGHT = 64;

/** Write options. */
export interface WriteOptions {
  /** The reply waits until the data is on stable storage (NBD_CMD_FLAG_FUA). */
  readonly fua?: boolean;
}

/**
 * Connects to the export that a URI names.
 * @param uri NBD URI, as text or parsed.
 * @throws UsageError for a bad URI, NbdNegotiationError when the server has no such export or refuses,
 *   NbdConnectionError when it cannot be reached.
 */
export async function connectNbd(uri: string | NbdUri, options: ClientOptions = {}): Promise<NbdClient> {
  const parsed = typeof uri === 'string' ? parseNbdUri(uri) : uri;
  const resolved = resolveOptions(options);
  return new NbdClient(parsed, resolved, await ConnectionPool.open(parsed, resolved));
}

/**
 * An export, over one or several connections. Requests are split to the server's limits and widened to its
 * minimum block size; reads go on over a new connection when one dies, within the retries.
 * All offsets and lengths are bytes.
 */
export class NbdClient {
  readonly uri: NbdUri;
  readonly #options: ResolvedOptions;
  readonly #pool: ConnectionPool;
  readonly #window: ReadWindow;
  readonly #onAbort = () => void this.close();
  /** Writes so far, and how many reconnects there had been at the first one that no flush covers. */
  #writes = 0;
  #unflushedSince: number | undefined;

  /** @internal Use {@link connectNbd}. */
  constructor(uri: NbdUri, options: ResolvedOptions, pool: ConnectionPool) {
    this.uri = uri;
    this.#options = options;
    this.#pool = pool;
    this.#window = new ReadWindow({ fixed: options.windowBytes, requestBytes: options.requestBytes });
    options.signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  /** What was negotiated. */
  get info(): ExportInfo {
    return this.#pool.info;
  }

  /** Size of the export. */
  get size(): number {
    return this.info.size;
  }

  get readOnly(): boolean {
    return this.#has(NBD_FLAG_READ_ONLY);
  }

  get canMultiConn(): boolean {
    return this.#has(NBD_FLAG_CAN_MULTI_CONN);
  }

  /** Connections in use now. */
  get connections(): number {
    return this.#pool.size;
  }

  /** How often a lost connection was replaced. Not 0: ask whether the export is still the same point in time. */
  get reconnects(): number {
    return this.#pool.reconnects;
  }

  /** Meta contexts that the server granted. */
  get contexts(): readonly string[] {
    return [...this.info.contexts.keys()];
  }

  #has(flag: number): boolean {
    return (this.info.flags & flag) !== 0;
  }

  /** Largest READ or WRITE that is sent. */
  get maxRequest(): number {
    const { maximum, minimum } = this.info.blockSize;
    const bytes = Math.min(maximum, this.#options.requestBytes);
    return Math.max(minimum, bytes - (bytes % minimum));
  }

  /** Reads `length` bytes at `offset` into new memory. */
  async read(offset: number, length: number): Promise<Uint8Array> {
    this.#checkRange('read', offset, length);
    const target = Buffer.alloc(length);
    await this.readInto(offset, target);
    return target;
  }

  /**
   * Reads `target.byteLength` bytes at `offset`. The memory belongs to the client until the promise settles,
   * also after an abort: a socket may still write into it.
   * @throws NbdCommandError when the server cannot read the range, NbdConnectionError when it is gone.
   */
  async readInto(offset: number, target: Uint8Array): Promise<void> {
    this.#checkRange('read', offset, target.byteLength);
    const { minimum } = this.info.blockSize;
    if (offset % minimum !== 0 || target.byteLength % minimum !== 0) {
      return this.#readUnaligned(offset, target, minimum);
    }
    if (target.byteLength <= this.maxRequest) return this.#readOnce(offset, target);
    await runParts(cutRange(offset, target.byteLength, this.maxRequest), MAX_PARTS_IN_FLIGHT, range => {
      const start = range.offset - offset;
      return this.#readOnce(range.offset, target.subarray(start, start + range.length));
    });
  }

  async #readOnce(offset: number, target: Uint8Array): Promise<void> {
    const length = target.byteLength;
    if (length === 0) return;
    const request = { type: NBD_CMD_READ, offset, length, target };
    const room = this.#window.enter(length);
    if (room) await room;
    try {
      await this.#retry((connection, attempt) =>
        attempt > 0 && this.#canReadWhole ? readWhole(connection, request) : connection.run(request),
      );
    } finally {
      this.#window.leave(length);
    }
  }

  get #canReadWhole(): boolean {
    return this.#has(NBD_FLAG_SEND_DF) && this.info.replyMode !== 'simple';
  }

  async #readUnaligned(offset: number, target: Uint8Array, minimum: number): Promise<void> {
    const range = alignOutward(offset, target.byteLength, minimum);
    if (range.offset + range.length > this.size) throw this.#tailUnreachable(minimum);
    const wide = new Uint8Array(range.length);
    await this.readInto(range.offset, wide);
    target.set(wide.subarray(offset - range.offset, offset - range.offset + target.byteLength));
  }

  #tailUnreachable(minimum: number): UsageError {
    return new UsageError(
      `${describeUri(this.uri)}: size ${this.size} is no multiple of the minimum block size ${minimum} ` +
        `that the server demands, so its last ${this.size % minimum} bytes cannot be accessed`,
      { hint: 'let the server accept smaller requests (nbdkit: --filter=blocksize minblock=…)' },
    );
  }

  /**
   * What the granted meta contexts say from `offset` on; each may cover less or more than `length`.
   * One command: advance each context by its own {@link StatusRun.total}.
   */
  async blockStatus(offset: number, length: number, flags = 0): Promise<ReadonlyMap<string, StatusRun>> {
    this.#checkRange('block status', offset, length);
    if (this.info.contexts.size === 0) throw new UsageError('block status without a granted meta context');
    const limit = this.info.replyMode === 'extended' ? length : Math.min(length, MAX_COMPACT_RANGE);
    return this.#retry(connection => connection.blockStatus(offset, limit, flags));
  }

  /** Writes `data` at `offset`. Not retried: a server that dies may have lost what it acknowledged before. */
  async write(offset: number, data: Uint8Array, options: WriteOptions = {}): Promise<void> {
    this.#checkWritable('write', offset, data.byteLength);
    await settleAll(
      splitRange(offset, data.byteLength, this.maxRequest).map(range => {
        const part = data.subarray(range.offset - offset, range.offset - offset + range.length);
        return this.#once({ type: NBD_CMD_WRITE, ...range, data: part, flags: this.#fua(options) });
      }),
    );
  }

  /** Whether {@link writeZeroes} is offered. */
  get canWriteZeroes(): boolean {
    return this.#has(NBD_FLAG_SEND_WRITE_ZEROES);
  }

  /** Zeroes a range. `noHole`: the range stays allocated. */
  async writeZeroes(
    offset: number,
    length: number,
    options: WriteOptions & { noHole?: boolean } = {},
  ): Promise<void> {
    this.#checkWritable('write zeroes', offset, length);
    this.#demand(NBD_FLAG_SEND_WRITE_ZEROES, 'NBD_CMD_WRITE_ZEROES');
    const flags = this.#fua(options) | (options.noHole ? NBD_CMD_FLAG_NO_HOLE : 0);
    await this.#overRange(NBD_CMD_WRITE_ZEROES, offset, length, flags);
  }

  /** Tells the server that a range is not needed any more; what it reads as then is undefined. */
  async trim(offset: number, length: number, options: WriteOptions = {}): Promise<void> {
    this.#checkWritable('trim', offset, length);
    this.#demand(NBD_FLAG_SEND_TRIM, 'NBD_CMD_TRIM');
    await this.#overRange(NBD_CMD_TRIM, offset, length, this.#fua(options));
  }

  /** Asks the server to have a range at hand. */
  async cache(offset: number, length: number): Promise<void> {
    this.#checkRange('cache', offset, length);
    this.#demand(NBD_FLAG_SEND_CACHE, 'NBD_CMD_CACHE');
    await this.#overRange(NBD_CMD_CACHE, offset, length, 0);
  }

  /**
   * Everything written so far is on stable storage when this resolves. A server without flush needs none.
   * @throws NbdConnectionError (NBD_CONNECTION_LOST), from then on always, when the connection was replaced
   *   since an unflushed write: a server that died may have lost what it had acknowledged.
   */
  async flush(): Promise<void> {
    const writes = this.#writes;
    if (this.#has(NBD_FLAG_SEND_FLUSH)) await this.#once({ type: NBD_CMD_FLUSH, offset: 0, length: 0 });
    if (this.#unflushedSince !== undefined && this.#unflushedSince !== this.reconnects) {
      throw new NbdConnectionError(
        'NBD_CONNECTION_LOST',
        `${describeUri(this.uri)}: the connection was lost between a write and the flush that would have kept it`,
        { hint: 'what was written may be lost although the server acknowledged it: write all of it again' },
      );
    }
    if (writes === this.#writes) this.#unflushedSince = undefined;
  }

  #expectFlush(): void {
    this.#writes++;
    this.#unflushedSince ??= this.reconnects;
  }

  async #overRange(type: number, offset: number, length: number, flags: number): Promise<void> {
    const limit = Math.min(MAX_COMPACT_RANGE, Math.max(this.maxRequest, this.info.blockSize.maximum));
    const aligned = limit - (limit % this.info.blockSize.minimum);
    for (const range of splitRange(offset, length, aligned)) await this.#once({ type, ...range, flags });
  }

  #fua(options: WriteOptions): number {
    return options.fua && this.#has(NBD_FLAG_SEND_FUA) ? NBD_CMD_FLAG_FUA : 0;
  }

  #demand(flag: number, command: string): void {
    if (!this.#has(flag)) throw new UsageError(`${describeUri(this.uri)} does not offer ${command}`);
  }

  #checkWritable(what: string, offset: number, length: number): void {
    this.#checkRange(what, offset, length);
    if (this.readOnly) throw new UsageError(`${what}: ${describeUri(this.uri)} is read-only`);
    const { minimum } = this.info.blockSize;
    if (offset % minimum !== 0 || length % minimum !== 0) {
      throw new UsageError(`${what} ${offset}+${length} is not aligned to the minimum block size ${minimum}`);
    }
  }

  #checkRange(what: string, offset: number, length: number): void {
    const fits = Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0;
    if (!fits || offset + length > this.size) {
      throw new UsageError(
        `${what} ${offset}+${length} lies outside ${describeUri(this.uri)} of ${this.size} bytes`,
      );
    }
    if (this.#options.signal?.aborted) throw new AbortedError(what, this.#options.signal.reason);
  }

  async #once(request: CommandRequest): Promise<void> {
    try {
      const connection = await this.#pool.take();
      if (needsFlush(request)) this.#expectFlush();
      await connection.run(request);
    } catch (error) {
      throw this.#aborted(error);
    }
  }

  /** The one place that retries: only commands that change nothing, only errors of the connection, bounded. */
  async #retry<Result>(run: (connection: Connection, attempt: number) => Promise<Result>): Promise<Result> {
    let lost: NbdConnectionError | undefined;
    for (let attempt = 0; ; attempt++) {
      const connection = this.#pool.peek() ?? (await this.#takeOrFail(lost));
      try {
        return await run(connection, attempt);
      } catch (error) {
        const again =
          error instanceof NbdConnectionError && error.retryable && attempt < this.#options.retries;
        if (!again || this.#options.signal?.aborted) throw this.#aborted(error);
        lost = error;
        this.#options.onReconnect?.(error);
      }
    }
  }

  /** Outside of the retries: opening a connection again has its own bound, and the two must not multiply. */
  async #takeOrFail(lost: NbdConnectionError | undefined): Promise<Connection> {
    try {
      return await this.#pool.take();
    } catch (error) {
      throw this.#aborted(lost ? notReopened(lost, error) : error);
    }
  }

  #aborted(error: unknown): unknown {
    if (!this.#options.signal?.aborted || !(error instanceof NbdeltaError)) return error;
    return new AbortedError(describeUri(this.uri), this.#options.signal.reason);
  }

  /** Leaves every connection politely; commands still in flight get an error. Safe to call twice. */
  async close(): Promise<void> {
    this.#options.signal?.removeEventListener('abort', this.#onAbort);
    await this.#pool.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/**
 * Reads again what a connection died under, in one chunk (NBD_CMD_FLAG_DF). QEMU (seen: 7.2 and 10.0) answers a
 * read that its storage fails by closing the connection, for all its commands; only a read that must not be
 * fragmented gets the storage's error. Without this, one bad sector takes every read beside it down too.
 */
async function readWhole(connection: Connection, request: CommandRequest): Promise<void> {
  try {
    await connection.run({ ...request, flags: NBD_CMD_FLAG_DF });
  } catch (error) {
    // Above 64 KiB a server may say that it would have to fragment.
    if (!(error instanceof NbdCommandError) || error.errno !== NBD_EOVERFLOW) throw error;
    await connection.run(request);
  }
}

/** Whether a command changes the export and a flush has to follow; with FUA it does not. */
function needsFlush({ type, flags = 0 }: CommandRequest): boolean {
  const changes = type === NBD_CMD_WRITE || type === NBD_CMD_WRITE_ZEROES || type === NBD_CMD_TRIM;
  return changes && (flags & NBD_CMD_FLAG_FUA) === 0;
}

/**
 * A server that went away in the middle of a command and did not come back: the loss is what happened, and it
 * names the range; that it cannot be reached now is only what followed. Another export is news of its own.
 */
function notReopened(lost: NbdConnectionError, error: unknown): unknown {
  if (!(error instanceof NbdeltaError) || error.code === 'NBD_EXPORT_CHANGED') return error;
  return new NbdConnectionError(lost.code, `${lost.message}; not opened again: ${error.message}`, {
    cause: error,
    ...(lost.hint !== undefined && { hint: lost.hint }),
    fields: lost.fields,
  });
}

/** Waits for all, then fails with the first error: memory of a failed part must not be in use any more. */
async function settleAll(parts: readonly Promise<void>[]): Promise<void> {
  const results = await Promise.allSettled(parts);
  const failed = results.find(result => result.status === 'rejected');
  if (failed) throw failed.reason;
}
