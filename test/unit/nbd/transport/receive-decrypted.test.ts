import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect as connectNet, createServer, type Server, type Socket } from 'node:net';
import { connect, TLSSocket, type TLSSocketOptions, type TlsOptions } from 'node:tls';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { receiveDecrypted } from '#nbdelta/nbd/transport/receive-decrypted.js';
import { SocketPipe } from '#nbdelta/nbd/transport/socket-pipe.js';
import { waitFor } from '../../../support/processes.js';
import { type TempFolder, tempFolder } from '../../../support/temp-folder.js';

const PSK = { psk: Buffer.alloc(32, 7), identity: 'us' };
const OPTIONS = { ciphers: 'PSK-AES128-GCM-SHA256', maxVersion: 'TLSv1.2' } as const;

/** Remembers which memory bytes came to; takes them in pieces of at most `piece`. */
function collector(piece: number) {
  const memory = Buffer.alloc(piece);
  const received: Buffer[] = [];
  return {
    bytes: () => Buffer.concat(received),
    next: () => memory,
    advance: (length: number) => void received.push(Buffer.from(memory.subarray(0, length))),
  };
}

describe('receiving from TLS', () => {
  let folder: TempFolder;
  let listener: Server;
  let peer: TLSSocket;
  let secure: TLSSocket;
  const ends: Error[] = [];

  beforeEach(async () => {
    ends.length = 0;
    folder = await tempFolder();
    const path = folder.file('s');
    listener = createServer();
    await once(listener.listen(path), 'listening');
    const accepted = once(listener, 'connection');
    const socket = connectNet(path);
    const [raw] = (await accepted) as [Socket];
    const server: TLSSocketOptions & Pick<TlsOptions, 'pskCallback'> = { pskCallback: () => PSK.psk };
    peer = new TLSSocket(raw, { ...OPTIONS, ...server, isServer: true });
    peer.on('error', () => undefined);
    secure = connect({ ...OPTIONS, socket, pskCallback: () => PSK, checkServerIdentity: () => undefined });
    await once(secure, 'secureConnect');
  });
  afterEach(async () => {
    secure.destroy();
    peer.destroy();
    listener.close();
    await folder[Symbol.asyncDispose]();
  });

  function open(): SocketPipe {
    const pipe = new SocketPipe(secure, 'test');
    receiveDecrypted(secure, pipe);
    return pipe;
  }

  it('has all bytes in order, without an event for each record, and hears of the end', async () => {
    const pipe = open();
    expect(secure.listenerCount('data')).toBe(0);
    const sink = collector(10_007);
    pipe.attach(sink, error => ends.push(error));
    const sent = randomBytes(1_000_003);
    peer.end(sent);
    await waitFor(() => ends.length === 1, 'the end');
    expect(sink.bytes().equals(sent)).toBe(true);
    expect(ends[0]?.message).toBe('the server closed the connection');
  });

  it('has what was decrypted before it began, and before a sink was attached', async () => {
    peer.write('early ');
    await waitFor(() => secure.readableLength > 0 || secure.read(0) !== null, 'early bytes');
    const pipe = open();
    peer.write('then ');
    await waitFor(() => secure.bytesRead > 0 && peer.writableLength === 0, 'bytes without a sink');
    const sink = collector(3);
    pipe.attach(sink, error => ends.push(error));
    peer.write('now');
    await waitFor(() => sink.bytes().length >= 14, 'all bytes');
    expect(sink.bytes().toString()).toBe('early then now');
  });

  it('takes chunks where Node has not the parts of onread', async () => {
    Object.defineProperty(Reflect.get(secure, '_handle'), 'useUserBuffer', { value: undefined });
    const pipe = open();
    expect(secure.listenerCount('data')).toBe(1);
    const sink = collector(1000);
    pipe.attach(sink, error => ends.push(error));
    const sent = randomBytes(100_000);
    peer.end(sent);
    await waitFor(() => ends.length === 1, 'the end');
    expect(sink.bytes().equals(sent)).toBe(true);
  });

  it('a sink that throws ends the connection, not the process', async () => {
    const pipe = open();
    const broken = {
      next: () => Buffer.alloc(10),
      advance: () => {
        throw new Error('out of step');
      },
    };
    pipe.attach(broken, error => ends.push(error));
    peer.write('anything');
    await waitFor(() => ends.length === 1, 'the end');
    expect(ends[0]?.message).toBe('out of step');
    await waitFor(() => secure.closed, 'the close');
  });
});
