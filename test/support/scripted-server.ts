import { createServer, type Server, type Socket } from 'node:net';
import { type NbdAddress, nbdUri } from './nbd-server-handle.js';
import { ClientGone, ScriptedPeer } from './scripted-peer.js';
import { tempFolder } from './temp-folder.js';

/** What the server does on one connection; `index` counts connections from 0. The connection ends with it. */
export type Script = (peer: ScriptedPeer, index: number) => Promise<void> | void;

export interface ScriptedServer extends AsyncDisposable {
  readonly address: NbdAddress;
  /** Plain URI of the export `disk`. */
  readonly uri: string;
  /** Connections accepted so far. */
  readonly accepted: number;
  /** Connections that are open now. */
  readonly open: number;
  /** Accepts no more: further connections are refused. */
  refuse(): void;
}

async function listen(server: Server, path: string | undefined): Promise<NbdAddress> {
  const target = path === undefined ? { host: '127.0.0.1', port: 0 } : { path };
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(target, resolve));
  const bound = server.address();
  return typeof bound === 'object' && bound
    ? { kind: 'tcp', port: bound.port }
    : { kind: 'unix', socket: path! };
}

/**
 * A server that sends given bytes at given steps and knows no rules. A script may be cut short by a client
 * that hangs up; any other failure of a script is thrown when the server is disposed of.
 */
export async function startScriptedServer(
  script: Script,
  transport: 'unix' | 'tcp' = 'unix',
): Promise<ScriptedServer> {
  const folder = await tempFolder();
  const sockets = new Set<Socket>();
  const failures: unknown[] = [];
  let accepted = 0;
  const server = createServer({ noDelay: true }, async socket => {
    const peer = new ScriptedPeer(socket);
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    try {
      await script(peer, accepted++);
      peer.end();
    } catch (error) {
      if (!(error instanceof ClientGone)) failures.push(error);
      socket.destroy();
    }
  });
  const address = await listen(server, transport === 'unix' ? folder.file('nbd.sock') : undefined);
  return {
    address,
    uri: nbdUri(address, 'disk'),
    get accepted() {
      return accepted;
    },
    get open() {
      return sockets.size;
    },
    refuse: () => {
      server.close();
    },
    async [Symbol.asyncDispose]() {
      const ended = new Promise(resolve => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await ended;
      await folder[Symbol.asyncDispose]();
      if (failures.length > 0) throw failures[0];
    },
  };
}
