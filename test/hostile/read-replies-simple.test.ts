import { expect, it } from 'vitest';
import { diskBytes, simpleReply } from '../support/scripted-nbd.js';
import { connectToScript, expectNoHandlesLeft, failure } from './hostile-client.js';

expectNoHandlesLeft();

const DISK = { size: 1 << 20, mode: 'simple' } as const;

it('simple replies in another order, one of them an error', async () => {
  await using hostile = await connectToScript(DISK, async peer => {
    const [first, second, third] = [await peer.request(), await peer.request(), await peer.request()];
    peer.send(simpleReply(third.cookie), diskBytes(third.offset, third.length));
    peer.send(simpleReply(second.cookie, 5));
    peer.send(simpleReply(first.cookie), diskBytes(first.offset, first.length));
    await peer.gone();
  });
  const { client } = hostile;
  expect(client.contexts).toEqual([]);
  const [first, second, third] = [client.read(0, 100), client.read(100, 100), client.read(200, 5000)];
  expect(await failure(second)).toMatchObject({ code: 'NBD_COMMAND_FAILED', errno: 5 });
  expect(Buffer.from(await first)).toEqual(diskBytes(0, 100));
  expect(Buffer.from(await third)).toEqual(diskBytes(200, 5000));
});

it('a structured reply that was not negotiated', async () => {
  await using hostile = await connectToScript(DISK, async peer => {
    await peer.request();
    peer.send(`668e33ef 0001 0000 ${'00'.repeat(12)}`);
    await peer.gone();
  });
  expect(await failure(hostile.client.read(0, 1))).toMatchObject({ code: 'NBD_PROTOCOL' });
});
