import { expect, it } from 'vitest';
import { connectNbd } from '#nbdelta/nbd/client/client.js';
import { listServer } from '#nbdelta/nbd/client/session.js';
import { parseNbdUri } from '#nbdelta/nbd/protocol/uri.js';
import { waitFor } from '../support/processes.js';
import { startScriptedServer } from '../support/scripted-server.js';
import { connectFailure, expectNoHandlesLeft, failure, IMPATIENT } from './hostile-client.js';

expectNoHandlesLeft();

it('a server that never greets: the handshake has a time limit, and the hint says why', async () => {
  const error = await connectFailure(peer => peer.hang());
  expect(error).toMatchObject({ code: 'NBD_TIMEOUT', message: expect.stringMatching(/400 ms/) });
  expect(error.hint).toMatch(/connection limit/);
});

it('the limit holds for listing too', async () => {
  await using server = await startScriptedServer(peer => peer.hang());
  const listing = listServer(parseNbdUri(server.uri), { handshakeTimeoutMs: 100 });
  expect(await failure(listing)).toMatchObject({ code: 'NBD_TIMEOUT' });
});

it('one byte now and then does not extend it', async () => {
  const error = await connectFailure(async peer => {
    for (const byte of Buffer.from('NBDMAGICIHAVEOPT')) {
      peer.send(Buffer.of(byte));
      await new Promise(resolve => setTimeout(resolve, 100));
      if (peer.isGone) return;
    }
  });
  expect(error).toMatchObject({ code: 'NBD_TIMEOUT' });
});

it('an abort ends the wait at once', async () => {
  await using server = await startScriptedServer(peer => peer.hang());
  const controller = new AbortController();
  const options = { ...IMPATIENT, handshakeTimeoutMs: 60_000, signal: controller.signal };
  const connecting = failure(connectNbd(server.uri, options));
  await waitFor(() => server.open === 1, 'a connection');
  controller.abort();
  expect(await connecting).toMatchObject({ code: 'ABORTED' });
  await waitFor(() => server.open === 0, 'the end of the connection');
});
