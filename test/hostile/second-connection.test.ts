import { expect, it } from 'vitest';
import { connectNbd } from '#nbdelta/nbd/client/client.js';
import { waitFor } from '../support/processes.js';
import {
  answerHonestly,
  diskBytes,
  FLAGS,
  GREETING,
  honestAnswer,
  MULTI_CONN,
  negotiate,
  serveHonestly,
} from '../support/scripted-nbd.js';
import type { ScriptedPeer } from '../support/scripted-peer.js';
import { startScriptedServer } from '../support/scripted-server.js';
import { expectNoHandlesLeft, IMPATIENT } from './hostile-client.js';

expectNoHandlesLeft();

const DISK = { size: 1 << 20, flags: FLAGS | MULTI_CONN };

it('a second connection that is accepted and never greeted: the client goes on with one', async () => {
  await using server = await startScriptedServer(async (peer, index) => {
    if (index > 0) return peer.hang();
    await negotiate(peer, DISK);
    await serveHonestly(peer);
  });
  const client = await connectNbd(server.uri, { ...IMPATIENT, connections: 4 });
  expect(Buffer.from(await client.read(0, 100))).toEqual(diskBytes(0, 100));
  await waitFor(() => server.accepted === 2 && server.open === 1, 'the client to give the second one up');
  expect(Buffer.from(await client.read(100, 100))).toEqual(diskBytes(100, 100));
  expect(client.connections).toBe(1);
  expect(client.reconnects).toBe(0);
  expect(server.accepted).toBe(2);
  await client.close();
});

it('close() ends a half-open second connection before it resolves: QEMU 7.2 hangs in nbd-server-stop otherwise', async () => {
  const open = new Set<number>();
  await using server = await startScriptedServer(async (peer, index) => {
    open.add(index);
    peer.socket.once('close', () => open.delete(index));
    if (index > 0) return peer.hang();
    await negotiate(peer, DISK);
    await serveHonestly(peer);
  });
  const client = await connectNbd(server.uri, { ...IMPATIENT, connections: 4, handshakeTimeoutMs: 60_000 });
  await client.read(0, 100);
  await waitFor(() => server.accepted === 2, 'the second connection');
  await client.close();
  // Our side is closed; the server learns of it when it next looks at its sockets.
  await waitFor(() => open.size === 0, 'the end of both connections', 100);
});

it('close() ends a half-open reconnect before it resolves', async () => {
  await using server = await startScriptedServer(async (peer, index) => {
    if (index > 0) return peer.hang();
    await negotiate(peer, DISK);
    await peer.request();
    peer.cut();
  });
  const options = { ...IMPATIENT, retries: 5, handshakeTimeoutMs: 60_000 };
  const client = await connectNbd(server.uri, options);
  const reading = client.read(0, 100).catch((error: unknown) => error);
  await waitFor(() => server.accepted === 2, 'the second connection');
  await client.close();
  await waitFor(() => server.open === 0, 'the end of both connections', 200);
  expect(await reading).toMatchObject({ code: 'NBD_CONNECTION_LOST' });
});

it('close() ends the pause before a reconnect', async () => {
  await using server = await startScriptedServer(async peer => {
    await negotiate(peer, DISK);
    await peer.request();
    server.refuse();
    peer.cut();
  });
  const client = await connectNbd(server.uri, { ...IMPATIENT, retries: 5, retryDelayMs: 60_000 });
  const reading = client.read(0, 100).catch((error: unknown) => error);
  await waitFor(() => client.connections === 0, 'the loss');
  await new Promise(resolve => setTimeout(resolve, 50));
  await client.close();
  expect(await reading).toMatchObject({ code: 'NBD_CONNECTION_LOST' });
});

it('all connections are used when the server says that it is safe, and one when it does not', async () => {
  for (const [flags, expected] of [
    [FLAGS | MULTI_CONN, 3],
    [FLAGS, 1],
  ] as const) {
    await using server = await startScriptedServer(async peer => {
      await negotiate(peer, { size: 1 << 20, flags });
      await serveHonestly(peer);
    });
    const client = await connectNbd(server.uri, { ...IMPATIENT, connections: 3 });
    await client.read(0, 1);
    await waitFor(() => client.connections === expected, `${expected} connections`);
    await Promise.all(Array.from({ length: 30 }, (_, index) => client.read(index * 100, 100)));
    expect(server.accepted).toBe(expected);
    await client.close();
  }
});

it('a second connection that shows another disk is not used', async () => {
  await using server = await startScriptedServer(async (peer, index) => {
    await negotiate(peer, { ...DISK, size: index === 0 ? 1 << 20 : 1 << 21 });
    await serveHonestly(peer);
  });
  const client = await connectNbd(server.uri, { ...IMPATIENT, connections: 4 });
  await client.read(0, 1);
  await waitFor(() => server.accepted === 2 && server.open === 1, 'the end of the other disk');
  expect(client.connections).toBe(1);
  expect(client.size).toBe(1 << 20);
  await client.close();
});

it('a second connection that is greeted after the first one was lost counts as a reconnect', async () => {
  const { promise: firstIsLost, resolve: greet } = deferred();
  await using server = await startScriptedServer(async (peer, index) => {
    if (index > 0) await firstIsLost;
    await negotiate(peer, DISK);
    if (index > 0) return serveHonestly(peer);
    answerHonestly(peer, await peer.request());
    await waitFor(() => server.accepted === 2, 'the second connection');
    peer.cut();
  });
  const client = await connectNbd(server.uri, { ...IMPATIENT, retries: 1, connections: 2 });
  await client.read(0, 100);
  await waitFor(() => client.connections === 0, 'the loss');
  greet();
  await waitFor(() => client.connections === 1, 'the second connection to join');
  expect(client.reconnects).toBe(1);
  expect(Buffer.from(await client.read(0, 100))).toEqual(diskBytes(0, 100));
  expect(client.reconnects).toBe(1);
  await client.close();
});

it('a greeting that arrives together with the end of the first connection counts as a reconnect', async () => {
  const peers: ScriptedPeer[] = [];
  await using server = await startScriptedServer(async (peer, index) => {
    peers.push(peer);
    if (index === 0) {
      await negotiate(peer, DISK);
      return serveHonestly(peer);
    }
    peer.send(GREETING);
    await peer.take(4);
    for (let option = 0; option !== 7; ) {
      ({ option } = await peer.option());
      if (option === 7) peers[0]!.cut();
      peer.send(honestAnswer(option, DISK));
    }
    return serveHonestly(peer);
  });
  const client = await connectNbd(server.uri, { ...IMPATIENT, retries: 1, connections: 2 });
  await client.read(0, 100);
  await waitFor(() => client.reconnects === 1, 'the reconnect to be seen');
  expect(Buffer.from(await client.read(0, 100))).toEqual(diskBytes(0, 100));
  await client.close();
});

function deferred() {
  let resolve: () => void = () => undefined;
  const promise = new Promise<void>(done => {
    resolve = done;
  });
  return { promise, resolve };
}
