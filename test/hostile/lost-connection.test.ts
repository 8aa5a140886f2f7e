import { expect, it } from 'vitest';
import { connectNbd } from '#nbdelta/nbd/client/client.js';
import type { ClientOptions } from '#nbdelta/nbd/client/client-options.js';
import { dataHead, diskBytes, FLAGS, MULTI_CONN, negotiate, serveHonestly } from '../support/scripted-nbd.js';
import { type Script, startScriptedServer } from '../support/scripted-server.js';
import { connectToScript, expectNoHandlesLeft, failure, IMPATIENT } from './hostile-client.js';

expectNoHandlesLeft();

const DISK = { size: 1 << 20 };

/** Answers half of the first read, then cuts. */
const dieInMidRead: Script = async peer => {
  const { cookie, offset, length } = await peer.request();
  peer.send(dataHead(cookie, true, offset, length), Buffer.alloc(length / 2, 0xbd));
  await new Promise(resolve => setTimeout(resolve, 5));
  peer.cut();
};

it('a read goes on over a new connection and has the right bytes', async () => {
  const causes: Error[] = [];
  const script: Script = (peer, index) => (index < 2 ? dieInMidRead(peer, index) : serveHonestly(peer));
  const options: ClientOptions = { retries: 3, onReconnect: cause => causes.push(cause) };
  await using hostile = await connectToScript(DISK, script, options);
  const { client, server } = hostile;
  const target = Buffer.alloc(10_000, 0xee);
  await client.readInto(1000, target);
  expect(target.equals(diskBytes(1000, 10_000))).toBe(true);
  expect(server.accepted).toBe(3);
  expect(client.reconnects).toBe(2);
  expect(causes.map(cause => (cause as { code?: string }).code)).toEqual([
    'NBD_CONNECTION_LOST',
    'NBD_CONNECTION_LOST',
  ]);
});

it('all reads in flight go on, over one new connection', async () => {
  const script: Script = (peer, index) => (index < 1 ? dieInMidRead(peer, index) : serveHonestly(peer));
  await using hostile = await connectToScript(DISK, script, { retries: 1 });
  const { client, server } = hostile;
  const reads = Array.from({ length: 20 }, (_, index) => client.read(index * 1000, 1000));
  const results = await Promise.all(reads);
  results.forEach((bytes, index) => {
    expect(Buffer.from(bytes).equals(diskBytes(index * 1000, 1000))).toBe(true);
  });
  expect(server.accepted).toBe(2);
});

it('retries are bounded, then it is NBD_CONNECTION_LOST', async () => {
  await using hostile = await connectToScript(DISK, dieInMidRead, { retries: 2 });
  const error = await failure(hostile.client.read(0, 1000));
  expect(error).toMatchObject({
    code: 'NBD_CONNECTION_LOST',
    fields: { offset: 0, length: 1000, export: 'disk' },
  });
  expect(error.message).toMatch(/NBD_CMD_READ 0\+1000 of export "disk"/);
  expect(hostile.server.accepted).toBe(3);
});

it('a server that is gone is asked for again as often as "retries" says, not its square', async () => {
  const attempts: number[] = [];
  await using server = await startScriptedServer(async (peer, index) => {
    attempts.push(index);
    if (index > 0) return peer.cut();
    await negotiate(peer, DISK);
    await peer.request();
    peer.cut();
  });
  const client = await connectNbd(server.uri, { ...IMPATIENT, retries: 3 });
  const error = await failure(client.read(0, 10));
  expect(error).toMatchObject({ code: 'NBD_CONNECTION_LOST' });
  expect(attempts).toEqual([0, 1, 2, 3]);
  await client.close();
});

it('without retries the loss is told at once', async () => {
  await using hostile = await connectToScript(DISK, dieInMidRead, { retries: 0 });
  expect(await failure(hostile.client.read(0, 1000))).toMatchObject({ code: 'NBD_CONNECTION_LOST' });
  expect(hostile.server.accepted).toBe(1);
});

it('a write is not sent twice', async () => {
  let writes = 0;
  await using hostile = await connectToScript(
    DISK,
    async peer => {
      writes += (await peer.request()).type === 1 ? 1 : 0;
      peer.cut();
    },
    { retries: 3 },
  );
  expect(await failure(hostile.client.write(0, Buffer.alloc(100)))).toMatchObject({
    code: 'NBD_CONNECTION_LOST',
  });
  expect(writes).toBe(1);
});

it('one of several connections lost: its reads go on over the others', async () => {
  const script: Script = (peer, index) => (index === 1 ? dieInMidRead(peer, index) : serveHonestly(peer));
  await using hostile = await connectToScript({ ...DISK, flags: FLAGS | MULTI_CONN }, script, {
    retries: 1,
    connections: 3,
  });
  const { client } = hostile;
  await client.read(0, 1);
  while (client.connections < 3) await new Promise(resolve => setTimeout(resolve, 5));
  const results = await Promise.all(
    Array.from({ length: 30 }, (_, index) => client.read(index * 1000, 1000)),
  );
  results.forEach((bytes, index) => {
    expect(Buffer.from(bytes).equals(diskBytes(index * 1000, 1000))).toBe(true);
  });
  expect(client.connections).toBe(2);
  expect(client.reconnects).toBe(0);
});

it.each([
  ['another size', { size: 1 << 21 }],
  ['other flags', { flags: FLAGS | 2 }],
  ['other meta contexts', { contexts: {} }],
])('an export that comes back with %s is NBD_EXPORT_CHANGED', async (_name, change) => {
  await using server = await startScriptedServer(async (peer, index) => {
    await negotiate(peer, index === 0 ? DISK : { ...DISK, ...change });
    await (index === 0 ? dieInMidRead(peer, index) : serveHonestly(peer));
  });
  const client = await connectNbd(server.uri, { ...IMPATIENT, retries: 3 });
  const error = await failure(client.read(0, 1000));
  expect(error).toMatchObject({ code: 'NBD_EXPORT_CHANGED', retryable: false });
  expect(error.message).toMatch(/changed: its/);
  expect(server.accepted).toBe(2);
  await client.close();
});

it('an orderly end without a word is a loss too', async () => {
  await using hostile = await connectToScript(DISK, async peer => {
    await peer.request();
    peer.end();
  });
  expect(await failure(hostile.client.read(0, 10))).toMatchObject({ code: 'NBD_CONNECTION_LOST' });
});

it('ESHUTDOWN is told as the server said it', async () => {
  await using hostile = await connectToScript(
    DISK,
    async peer => {
      const { cookie } = await peer.request();
      peer.send(`668e33ef 0001 8001 0000000000000000`.slice(0, -16), cookie.toString(16).padStart(16, '0'));
      peer.send('00000006 0000006c 0000');
      peer.end();
    },
    { retries: 2 },
  );
  const error = await failure(hostile.client.read(0, 10));
  expect(error).toMatchObject({ code: 'NBD_COMMAND_FAILED', errno: 108 });
  expect(error.hint).toMatch(/shutting down/);
});
