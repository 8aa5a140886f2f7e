import { expect, it } from 'vitest';
import { waitFor } from '../support/processes.js';
import { answerHonestly, serveHonestly } from '../support/scripted-nbd.js';
import { connectToScript, expectNoHandlesLeft, failure } from './hostile-client.js';

expectNoHandlesLeft();

const DISK = { size: 1 << 20 };

/** A server that dies after `count` commands and comes back. */
const dieAfter = (count: number) =>
  connectToScript(
    DISK,
    async (peer, index) => {
      if (index > 0) return serveHonestly(peer);
      for (let done = 0; done < count; done++) answerHonestly(peer, await peer.request());
      // The last answer must arrive before the end does.
      await new Promise(resolve => setTimeout(resolve, 10));
    },
    { retries: 3 },
  );

it.each(['write', 'zero', 'trim'] as const)(
  'a %s that was acknowledged and perhaps lost makes flush fail',
  async kind => {
    await using hostile = await dieAfter(1);
    const { client } = hostile;
    if (kind === 'write') await client.write(0, Buffer.alloc(10));
    if (kind === 'zero') await client.writeZeroes(0, 10);
    if (kind === 'trim') await client.trim(0, 10);
    await waitFor(() => client.connections === 0, 'the loss');
    await client.write(10, Buffer.alloc(10));
    expect(client.reconnects).toBe(1);
    for (let again = 0; again < 2; again++) {
      const error = await failure(client.flush());
      expect(error).toMatchObject({ code: 'NBD_CONNECTION_LOST', retryable: false });
      expect(error.hint).toMatch(/write all of it again/);
    }
  },
);

it('what was flushed before the loss, or written through, is safe', async () => {
  await using hostile = await dieAfter(3);
  const { client } = hostile;
  await client.write(0, Buffer.alloc(10));
  await client.flush();
  await client.write(10, Buffer.alloc(10), { fua: true });
  await waitFor(() => client.connections === 0, 'the loss');
  await client.write(20, Buffer.alloc(10));
  await client.flush();
  expect(client.reconnects).toBe(1);
});

it('a loss between reads does not matter to flush', async () => {
  await using hostile = await dieAfter(1);
  const { client } = hostile;
  await client.read(0, 10);
  await waitFor(() => client.connections === 0, 'the loss');
  await client.flush();
});
