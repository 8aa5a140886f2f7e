import { expect, it } from 'vitest';
import { dataHead } from '../support/scripted-nbd.js';
import { connectToScript, expectNoHandlesLeft, failure } from './hostile-client.js';

expectNoHandlesLeft();

const DISK = { size: 1 << 24 };

it('a server that stops answering: every command in flight times out with an error of its own', async () => {
  await using hostile = await connectToScript(DISK, peer => peer.hang());
  const { client } = hostile;
  const errors = await Promise.all([
    failure(client.read(0, 10)),
    failure(client.blockStatus(0, 10)),
    failure(client.flush()),
  ]);
  for (const error of errors) expect(error).toMatchObject({ code: 'NBD_TIMEOUT', retryable: true });
  expect(new Set(errors).size).toBe(3);
});

it('a server that stops in the middle of data: the memory is left alone once the promise is settled', async () => {
  let cut = () => undefined as unknown;
  await using hostile = await connectToScript(DISK, async peer => {
    const { cookie } = await peer.request();
    peer.send(dataHead(cookie, true, 0, 1000), Buffer.alloc(500, 0x41));
    cut = () => peer.send(Buffer.alloc(500, 0x42));
    await peer.gone();
  });
  const target = Buffer.alloc(1000, 0xee);
  expect(await failure(hostile.client.readInto(0, target))).toMatchObject({ code: 'NBD_TIMEOUT' });
  target.fill(0x77);
  cut();
  await new Promise(resolve => setTimeout(resolve, 50));
  expect(target.equals(Buffer.alloc(1000, 0x77))).toBe(true);
});

it('a slow server is not a silent one', async () => {
  await using hostile = await connectToScript(
    DISK,
    async peer => {
      const { cookie } = await peer.request();
      peer.send(dataHead(cookie, true, 0, 8));
      for (let index = 0; index < 8; index++) {
        await new Promise(resolve => setTimeout(resolve, 60));
        peer.send(Buffer.of(index));
      }
      await peer.gone();
    },
    { timeoutMs: 250 },
  );
  expect([...(await hostile.client.read(0, 8))]).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
});

it('a server that drips for ever is ended', async () => {
  await using hostile = await connectToScript(
    DISK,
    async peer => {
      const { cookie } = await peer.request();
      peer.send(dataHead(cookie, true, 0, 100_000));
      while (!peer.isGone) {
        await new Promise(resolve => setTimeout(resolve, 10));
        peer.send('00');
      }
    },
    { timeoutMs: 50 },
  );
  expect(await failure(hostile.client.read(0, 100_000))).toMatchObject({ code: 'NBD_TIMEOUT' });
});

it('close() does not wait for a server that has stopped reading', async () => {
  let resume = () => undefined as unknown;
  await using hostile = await connectToScript(
    DISK,
    async peer => {
      peer.socket.pause();
      resume = () => peer.socket.resume();
      await new Promise(resolve => peer.socket.once('close', resolve));
    },
    { timeoutMs: 60_000 },
  );
  const { client } = hostile;
  const written = failure(client.write(0, Buffer.alloc(1 << 23, 1)));
  await new Promise(resolve => setTimeout(resolve, 50));
  const started = performance.now();
  await client.close();
  expect(performance.now() - started).toBeLessThan(2_500);
  expect(await written).toMatchObject({ code: 'NBD_CONNECTION_LOST' });
  resume();
});

it('an abort does not wait for it either, and says that it was one', async () => {
  const controller = new AbortController();
  await using hostile = await connectToScript(DISK, peer => peer.hang(), {
    timeoutMs: 60_000,
    signal: controller.signal,
  });
  const { client } = hostile;
  const reads = [failure(client.read(0, 10)), failure(client.read(0, 10))];
  controller.abort(new Error('enough'));
  const errors = await Promise.all(reads);
  for (const error of errors) expect(error).toMatchObject({ code: 'ABORTED' });
  expect(errors[0]).not.toBe(errors[1]);
  expect(await failure(client.read(0, 10))).toMatchObject({ code: 'ABORTED' });
});

it('a server that ignores the goodbye is left after a moment', async () => {
  await using hostile = await connectToScript(DISK, async peer => {
    await peer.request();
    await new Promise(resolve => peer.socket.once('close', resolve));
  });
  await hostile.client.close();
  await hostile.client.close();
  expect(await failure(hostile.client.read(0, 1))).toMatchObject({ code: 'NBD_CONNECTION_LOST' });
});
