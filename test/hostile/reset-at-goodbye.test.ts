import { expect, it } from 'vitest';
import { connectNbd } from '#nbdelta/nbd/client/client.js';
import { dataHead, negotiate } from '../support/scripted-nbd.js';
import { startScriptedServer } from '../support/scripted-server.js';
import { expectNoHandlesLeft, failure, IMPATIENT } from './hostile-client.js';

expectNoHandlesLeft();

const DISK = { size: 1 << 20 };

it('a connection that is reset while we say goodbye is closed, and close() does not complain', async () => {
  await using server = await startScriptedServer(async peer => {
    await negotiate(peer, DISK);
    await peer.request();
    peer.socket.resetAndDestroy();
  }, 'tcp');
  const client = await connectNbd(server.uri, IMPATIENT);
  await client.close();
});

it('a connection that is reset in the middle of data settles every command', async () => {
  await using server = await startScriptedServer(async peer => {
    await negotiate(peer, DISK);
    const { cookie } = await peer.request();
    peer.send(dataHead(cookie, true, 0, 100_000), Buffer.alloc(50_000));
    await new Promise(resolve => setTimeout(resolve, 10));
    peer.socket.resetAndDestroy();
  }, 'tcp');
  const client = await connectNbd(server.uri, IMPATIENT);
  const reads = [failure(client.read(0, 100_000)), failure(client.read(0, 1)), failure(client.flush())];
  for (const error of await Promise.all(reads)) {
    expect(error).toMatchObject({
      code: 'NBD_CONNECTION_LOST',
      message: expect.stringMatching(/ECONNRESET/),
    });
  }
  await client.close();
});

it('so does one that is closed by us while a write cannot go out', async () => {
  await using server = await startScriptedServer(async peer => {
    await negotiate(peer, DISK);
    peer.socket.pause();
    await new Promise(resolve => setTimeout(resolve, 100));
    peer.socket.resetAndDestroy();
  }, 'tcp');
  const client = await connectNbd(server.uri, IMPATIENT);
  const writes = Array.from({ length: 32 }, () => failure(client.write(0, Buffer.alloc(1 << 20))));
  await new Promise(resolve => setTimeout(resolve, 95));
  await client.close();
  for (const error of await Promise.all(writes)) expect(error).toMatchObject({ code: 'NBD_CONNECTION_LOST' });
});
