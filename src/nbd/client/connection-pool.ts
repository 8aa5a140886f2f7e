import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises';
import { NbdConnectionError, NbdeltaError } from '../../errors.js';
import { NBD_FLAG_CAN_MULTI_CONN } from '../protocol/constants.js';
import { describeAddress, type NbdUri } from '../protocol/uri.js';
import type { ResolvedOptions } from './client-options.js';
import { Connection } from './connection.js';
import type { ExportInfo } from './negotiate.js';
import { openSession } from './session.js';

/**
 * The connections of one client. The first one is open before anything else happens; more are opened
 * in the background when the server says that this is safe, and the pool goes on with fewer when they fail.
 */
export class ConnectionPool {
  readonly info: ExportInfo;
  readonly #uri: NbdUri;
  readonly #options: ResolvedOptions;
  readonly #connections: Connection[];
  #growing: Promise<void> | undefined;
  #reopening: Promise<void> | undefined;
  #reopened = 0;
  #closed = false;
  readonly #abortBackground = new AbortController();

  private constructor(uri: NbdUri, options: ResolvedOptions, first: Connection) {
    this.#uri = uri;
    this.#options = options;
    this.#connections = [first];
    this.info = first.info;
  }

  static async open(uri: NbdUri, options: ResolvedOptions): Promise<ConnectionPool> {
    const first = await connect(uri, options, options.signal);
    return new ConnectionPool(uri, options, first);
  }

  /** Connections that are usable now. */
  get size(): number {
    return this.#connections.filter(connection => connection.alive).length;
  }

  /** How often a lost connection was replaced. */
  get reconnects(): number {
    return this.#reopened;
  }

  /** The least busy usable connection; opens a new one, within the retries, when none is left. */
  async take(): Promise<Connection> {
    const usable = this.peek();
    if (usable) return usable;
    if (this.#closed) throw closedError(this.#uri);
    this.#reopening ??= this.#reopen().finally(() => {
      this.#reopening = undefined;
    });
    await this.#reopening;
    return this.take();
  }

  /** The least busy usable connection, or undefined. */
  peek(): Connection | undefined {
    if (this.#closed) return undefined;
    this.#growing ??= this.#grow();
    let best: Connection | undefined;
    for (const connection of this.#connections) {
      if (!connection.alive) continue;
      if (!best || connection.bytesInFlight < best.bytesInFlight) best = connection;
    }
    return best;
  }

  async #grow(): Promise<void> {
    const safe = (this.info.flags & NBD_FLAG_CAN_MULTI_CONN) !== 0;
    while (safe && !this.#closed && this.#connections.length < this.#options.connections) {
      const before = [...this.#connections];
      const reopened = this.#reopened;
      try {
        const connection = await connect(this.#uri, this.#options, this.#abortBackground.signal);
        // An end of the others that came before this greeting is seen now.
        await nextTurn();
        // Only beside a connection that lived all the time is it surely the same point in time.
        const isBeside = before.length > 0 && before.every(({ alive }) => alive);
        await this.#add(connection, !isBeside && reopened === this.#reopened);
      } catch {
        // A server at its connection limit never greets: the connections that work are enough.
        return;
      }
    }
  }

  /** `replaces`: whether it comes after one that was lost. */
  async #add(connection: Connection, replaces: boolean): Promise<void> {
    const difference = describeDifference(this.info, connection.info);
    if (difference) {
      await connection.close();
      throw new NbdConnectionError(
        'NBD_EXPORT_CHANGED',
        `export "${this.info.exportName}" at ${describeAddress(this.#uri.address)} changed: ${difference}`,
        { hint: 'the backup job was restarted in between: start the backup again' },
      );
    }
    if (this.#closed) return connection.close();
    if (replaces) this.#reopened++;
    this.#connections.push(connection);
  }

  async #reopen(): Promise<void> {
    // A server that serves one client at a time takes a new one only when the dead one is gone.
    await Promise.all(this.#connections.splice(0).map(dead => dead.close()));
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#add(await connect(this.#uri, this.#options, this.#abortBackground.signal), true);
      } catch (error) {
        if (this.#closed) throw closedError(this.#uri);
        const retryable = error instanceof NbdeltaError && error.retryable;
        if (!retryable || attempt >= Math.max(1, this.#options.retries)) throw error;
        await this.#pause(this.#options.retryDelayMs * 2 ** (attempt - 1));
      }
    }
  }

  /** Ends at once when the pool is closed. */
  async #pause(milliseconds: number): Promise<void> {
    try {
      await delay(milliseconds, undefined, { signal: this.#abortBackground.signal });
    } catch {
      throw closedError(this.#uri);
    }
  }

  /**
   * Leaves every connection politely. Those that are still in their handshake are gone too when this
   * resolves: QEMU 7.2 hangs in nbd-server-stop as long as one exists.
   */
  async close(): Promise<void> {
    this.#closed = true;
    this.#abortBackground.abort();
    await Promise.all(this.#connections.map(connection => connection.close()));
    // Whoever waits for a connection gets the error; here only its end matters.
    await Promise.allSettled([this.#growing, this.#reopening]);
  }
}

async function connect(
  uri: NbdUri,
  options: ResolvedOptions,
  signal: AbortSignal | undefined,
): Promise<Connection> {
  const plan = { ...options, exportName: uri.exportName };
  const session = await openSession(uri, plan, { handshakeTimeoutMs: options.handshakeTimeoutMs, signal });
  return new Connection(session, options.timeoutMs);
}

/** A second connection to another state of the disk would mix two points in time. */
function describeDifference(first: ExportInfo, other: ExportInfo): string | undefined {
  if (first.size !== other.size) return `its size was ${first.size} and is ${other.size}`;
  if (first.flags !== other.flags) return `its flags were ${first.flags} and are ${other.flags}`;
  const before = [...first.contexts.keys()].sort().join(' ');
  const after = [...other.contexts.keys()].sort().join(' ');
  return before === after ? undefined : `its meta contexts were "${before}" and are "${after}"`;
}

function closedError(uri: NbdUri): NbdConnectionError {
  return new NbdConnectionError(
    'NBD_CONNECTION_LOST',
    `the client of ${describeAddress(uri.address)} is closed`,
  );
}
