import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openPipe } from '#nbdelta/nbd/transport/connect.js';
import type { SocketPipe } from '#nbdelta/nbd/transport/socket-pipe.js';
import { waitFor } from '../../../support/processes.js';
import { type TempFolder, tempFolder } from '../../../support/temp-folder.js';

/** Takes bytes in pieces of at most `piece`. */
function collector(piece: number) {
  const memory = Buffer.alloc(piece);
  const received: Buffer[] = [];
  return {
    bytes: () => Buffer.concat(received),
    next: () => memory,
    advance: (length: number) => {
      received.push(Buffer.from(memory.subarray(0, length)));
    },
  };
}

describe('SocketPipe', () => {
  let folder: TempFolder;
  let server: ReturnType<typeof createServer>;
  let peer: Socket;
  let pipe: SocketPipe;
  const ends: Error[] = [];

  beforeEach(async () => {
    ends.length = 0;
    folder = await tempFolder();
    server = createServer();
    const path = folder.file('socket');
    await once(server.listen(path), 'listening');
    const accepted = once(server, 'connection');
    pipe = await openPipe({ kind: 'unix', path }, { timeoutMs: 1_000 });
    [peer] = (await accepted) as [Socket];
    peer.resume();
  });
  afterEach(async () => {
    await pipe.destroy();
    peer.destroy();
    server.close();
    await folder[Symbol.asyncDispose]();
  });

  it('keeps what comes before a sink, and what comes while sinks change', async () => {
    peer.write('early ');
    await new Promise(resolve => setTimeout(resolve, 20));
    const first = collector(1000);
    pipe.attach(first, error => ends.push(error));
    peer.write('first ');
    await waitFor(() => first.bytes().length === 12, 'the first bytes');
    // The next read has been handed memory of the first sink already.
    const second = collector(3);
    pipe.attach(second, error => ends.push(error));
    peer.write('second, in small pieces');
    await waitFor(() => second.bytes().length === 23, 'the second bytes');
    expect(first.bytes().toString()).toBe('early first ');
    expect(second.bytes().toString()).toBe('second, in small pieces');
    expect(ends).toEqual([]);
  });

  it('a sink that throws when asked for memory ends the connection, not the process', async () => {
    let asked = 0;
    const sink = {
      next: () => {
        if (asked++ > 0) throw new Error('no more memory for you');
        return Buffer.alloc(8);
      },
      advance: () => undefined,
    };
    pipe.attach(sink, error => ends.push(error));
    peer.write(Buffer.alloc(100));
    await once(peer, 'close');
    expect(ends.map(error => error.message)).toEqual(['no more memory for you']);
  });

  it('a sink that hands out empty memory ends the connection: a read into it would never end', async () => {
    let left = [Buffer.alloc(8)];
    const sink = {
      next: () => left[0] ?? Buffer.alloc(0),
      advance: () => {
        left = [];
      },
    };
    pipe.attach(sink, error => ends.push(error));
    peer.write(Buffer.alloc(100));
    await once(peer, 'close');
    expect(ends.map(error => error.message)).toEqual(['no memory for the bytes that come next']);
  });

  it('a sink that throws on its bytes ends the connection, and is told once', async () => {
    const sink = {
      next: () => Buffer.alloc(8),
      advance: () => {
        throw new Error('out of step');
      },
    };
    pipe.attach(sink, error => ends.push(error));
    peer.write(Buffer.alloc(100));
    await once(peer, 'close');
    expect(ends.map(error => error.message)).toEqual(['out of step']);
    await expect(pipe.write([Buffer.from('x')])).rejects.toThrow('out of step');
  });

  it('end() and destroy() are safe twice and in any order', async () => {
    pipe.attach(collector(8), error => ends.push(error));
    await Promise.all([pipe.end(1_000), pipe.end(1_000), pipe.destroy()]);
    await pipe.end(1_000);
    await pipe.destroy();
    expect(ends).toHaveLength(1);
  });

  it('an address where nobody listens', async () => {
    const path = folder.file('nobody');
    await expect(openPipe({ kind: 'unix', path }, { timeoutMs: 100 })).rejects.toMatchObject({
      code: 'NBD_CONNECT_FAILED',
      fields: { errno: 'ENOENT' },
    });
  });
});
