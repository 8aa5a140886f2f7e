import { createServer, type Server, type Socket } from 'node:net';
import { BufferShelf } from '../../buffers/buffer-shelf.js';
import { errorLine, NbdeltaError, UsageError } from '../../errors.js';
import { describeAddress, formatNbdUri, type NbdAddress } from '../protocol/uri.js';
import { ClientConnection, type ConnectionSettings } from './client-connection.js';
import { exportTable, type ServedExport } from './served-export.js';
import { readServerTls, type ServerTls } from './server-tls.js';
import { claimSocketPath, listenPrivately } from './unix-listener.js';

/** Memory of replies that waits to be used again: what a client has under way that reads as fast as it can. Bytes. */
const REPLY_MEMORY_KEPT = 16 << 20;

export interface NbdServerOptions {
  readonly exports: readonly ServedExport[];
  /** A unix socket gets mode 0600; a stale socket file is replaced. Port 0 takes a free one. */
  readonly listen: NbdAddress;
  /** When given, clients without TLS are told and served nothing. */
  readonly tls?: ServerTls;
  /** Further clients are disconnected at once. 100 by default. */
  readonly maxConnections?: number;
  /** For all of a handshake, TLS included. 10 s by default. */
  readonly handshakeTimeoutMs?: number;
  /** Offer 64-bit lengths (NBD_OPT_EXTENDED_HEADERS). True by default. */
  readonly extendedHeaders?: boolean;
  /** Told of broken connections and of sources that failed; the server goes on. */
  readonly onError?: (error: NbdeltaError) => void;
}

/** A server that listens. Sources are used until {@link close} resolves, and never after. */
export interface NbdServer extends AsyncDisposable {
  /** Where it listens, with the port that was taken. */
  readonly address: NbdAddress;
  /** Clients connected now. */
  readonly connections: number;
  /** URI of an export. For TLS it has no credentials: those are the client's. */
  uri(exportName: string): string;
  /** Stops listening, drops all clients, and resolves when all is over. Safe twice. */
  close(): Promise<void>;
}

/**
 * Serves sources read-only over NBD.
 * @throws UsageError on exports or an address that cannot be; NbdNegotiationError (NBD_TLS_FAILED) on unusable
 * credentials; NbdeltaError (NBD_LISTEN_FAILED) when the address cannot be listened at.
 */
export async function startNbdServer(options: NbdServerOptions): Promise<NbdServer> {
  const exports = exportTable(options.exports);
  const tls = options.tls && (await readServerTls(options.tls));
  const settings: ConnectionSettings = {
    policy: { exports, tls: tls !== undefined, extendedHeaders: options.extendedHeaders ?? true },
    tls,
    handshakeTimeoutMs: options.handshakeTimeoutMs ?? 10_000,
    shelf: new BufferShelf(REPLY_MEMORY_KEPT),
    onError: options.onError ?? (() => undefined),
  };
  const server = new ListeningServer(settings, options.maxConnections ?? 100);
  await server.listen(options.listen);
  return server;
}

class ListeningServer implements NbdServer {
  readonly #settings: ConnectionSettings;
  readonly #server: Server;
  readonly #clients = new Map<ClientConnection, Promise<void>>();
  #address: NbdAddress | undefined;
  #closing: Promise<void> | undefined;

  constructor(settings: ConnectionSettings, maxConnections: number) {
    this.#settings = settings;
    // A peer that vanished without a word must not hold a place for ever: keep-alive finds out.
    this.#server = createServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 });
    this.#server.maxConnections = maxConnections;
    this.#server.on('connection', socket => this.#accept(socket));
  }

  async listen(address: NbdAddress): Promise<void> {
    if (address.kind === 'unix') {
      await claimSocketPath(address.path).catch(error => {
        throw error instanceof NbdeltaError ? error : listenFailed(address, error);
      });
    }
    await listening(this.#server, address);
    // Out of file descriptors, for instance: this client is lost, the server is not.
    this.#server.on('error', error => this.#settings.onError(listenFailed(address, error)));
    const bound = this.#server.address();
    const port = bound !== null && typeof bound === 'object' ? bound.port : 0;
    this.#address = address.kind === 'tcp' ? { ...address, port } : address;
  }

  #accept(socket: Socket): void {
    const { remoteAddress, remotePort } = socket;
    const peer =
      remoteAddress === undefined || remotePort === undefined
        ? describeAddress(this.address)
        : describeAddress({ kind: 'tcp', host: remoteAddress, port: remotePort });
    const client = new ClientConnection(socket, `client ${peer}`, this.#settings);
    const run = client.run().finally(() => this.#clients.delete(client));
    this.#clients.set(client, run);
  }

  get address(): NbdAddress {
    if (!this.#address) throw new UsageError('the server does not listen yet');
    return this.#address;
  }

  get connections(): number {
    return this.#clients.size;
  }

  uri(exportName: string): string {
    const { exports, tls } = this.#settings.policy;
    if (!exports.has(exportName)) throw new UsageError(`there is no export "${exportName}"`);
    const uri = formatNbdUri(reachable(this.address), exportName);
    return tls ? uri.replace(/^nbd/, 'nbds') : uri;
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const closed = new Promise<void>(resolve => this.#server.close(() => resolve()));
    const clients = [...this.#clients];
    await Promise.all(clients.map(([client]) => client.drop()));
    await Promise.all(clients.map(([, run]) => run));
    await closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** A server on all addresses is reached at its own. */
function reachable(address: NbdAddress): NbdAddress {
  const everywhere = address.kind === 'tcp' && ['', '0.0.0.0', '::'].includes(address.host);
  return everywhere ? { ...address, host: 'localhost' } : address;
}

function listening(server: Server, address: NbdAddress): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (error: Error) => reject(listenFailed(address, error));
    server.once('error', onError);
    server.once('listening', () => {
      server.off('error', onError);
      resolve();
    });
    try {
      if (address.kind === 'unix') listenPrivately(server, address.path);
      else server.listen({ host: address.host, port: address.port });
    } catch (error) {
      onError(error as Error); // a port that is no port is thrown, not emitted
    }
  });
}

function listenFailed(address: NbdAddress, cause: Error): NbdeltaError {
  const message = `cannot listen at ${describeAddress(address)}: ${errorLine(cause)}`;
  return new NbdeltaError('NBD_LISTEN_FAILED', message, {
    cause,
    hint: 'check that the address is ours, free, and that its folder exists and is writable',
    fields: { address: describeAddress(address), errno: (cause as NodeJS.ErrnoException).code ?? '' },
  });
}
