import { expect, it } from 'vitest';
import { connectNbd } from '#nbdelta/nbd/client/client.js';
import { waitFor } from '../support/processes.js';
import {
  chunk,
  diskBytes,
  GREETING,
  honestAnswer,
  negotiate,
  serveHonestly,
} from '../support/scripted-nbd.js';
import { startScriptedServer } from '../support/scripted-server.js';
import {
  connectFailure,
  connectToScript,
  expectNoHandlesLeft,
  failure,
  IMPATIENT,
} from './hostile-client.js';

expectNoHandlesLeft();

it('a mebibyte behind the greeting ends the connection, not the process', async () => {
  const error = await connectFailure(async peer => {
    peer.send(GREETING, Buffer.alloc(1 << 20, 0x41));
    await peer.gone();
  });
  expect(error.code).toBe('NBD_PROTOCOL');
});

it('a mebibyte instead of the greeting', async () => {
  const error = await connectFailure(async peer => {
    peer.send(Buffer.alloc(1 << 20, 0x41));
    await peer.gone();
  });
  expect(error.code).toBe('NBD_HANDSHAKE_FAILED');
});

it('bytes together with the last answer of the handshake', async () => {
  const error = await connectFailure(async peer => {
    peer.send(GREETING);
    await peer.take(4);
    while (!peer.isGone) {
      const { option } = await peer.option();
      peer.send(honestAnswer(option, { size: 4096 }) + (option === 7 ? '00' : ''));
    }
  });
  expect(error).toMatchObject({ code: 'NBD_PROTOCOL', message: expect.stringMatching(/1 unasked bytes/) });
});

it('a reply that nobody waits for ends that connection; the next command uses a new one', async () => {
  const connections: number[] = [];
  await using server = await startScriptedServer(async (peer, index) => {
    connections.push(index);
    await negotiate(peer, { size: 1 << 16 });
    if (index > 0) return serveHonestly(peer);
    await new Promise(resolve => setTimeout(resolve, 20));
    peer.send(chunk(77, true, 0));
    await peer.gone();
  });
  const client = await connectNbd(server.uri, { ...IMPATIENT });
  await waitFor(() => client.connections === 0, 'the end of the first connection');
  expect(Buffer.from(await client.read(8, 16))).toEqual(diskBytes(8, 16));
  expect(client.reconnects).toBe(1);
  await client.close();
});

it('a reply that nobody waits for, while others do, gives each of them an error of its own', async () => {
  await using hostile = await connectToScript({ size: 1 << 16 }, async peer => {
    await peer.request();
    await peer.request();
    peer.send(chunk(77, true, 0));
    await peer.gone();
  });
  const { client } = hostile;
  const errors = await Promise.all([failure(client.read(0, 16)), failure(client.read(16, 16))]);
  expect(errors.map(error => error.code)).toEqual(['NBD_PROTOCOL', 'NBD_PROTOCOL']);
  expect(errors[0]).not.toBe(errors[1]);
  expect(errors.map(error => error.fields['offset'])).toEqual([0, 16]);
});
