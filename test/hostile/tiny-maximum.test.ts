import { expect, it } from 'vitest';
import { connectNbd } from '#nbdelta/nbd/client/client.js';
import { answerHonestly, diskBytes, negotiate } from '../support/scripted-nbd.js';
import { startScriptedServer } from '../support/scripted-server.js';
import { be } from '../support/wire-bytes.js';
import { expectNoHandlesLeft, IMPATIENT } from './hostile-client.js';

expectNoHandlesLeft();

it('a server that takes 512 bytes at most: 64 commands of a read at once, not thousands', async () => {
  let asked = 0;
  const blockSize = be(512, 4) + be(512, 4) + be(512, 4);
  await using server = await startScriptedServer(async peer => {
    await negotiate(peer, { size: 1 << 20, blockSize });
    const held = [];
    while (asked < 64) {
      const request = await peer.request();
      asked++;
      held.push(request);
    }
    await new Promise(resolve => setTimeout(resolve, 50));
    for (const request of held) answerHonestly(peer, request);
    for (let request = await peer.request(); request.type !== 2; request = await peer.request()) {
      asked++;
      answerHonestly(peer, request);
    }
  });
  const client = await connectNbd(server.uri, IMPATIENT);
  const reading = client.read(0, 1 << 18);
  await new Promise(resolve => setTimeout(resolve, 20));
  expect(asked).toBe(64);
  expect(Buffer.from(await reading)).toEqual(diskBytes(0, 1 << 18));
  expect(asked).toBe(512);
  await client.close();
});
