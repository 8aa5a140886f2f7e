import { expect, it } from 'vitest';
import { diskBytes, extendedChunk } from '../support/scripted-nbd.js';
import type { SentRequest } from '../support/scripted-peer.js';
import { be } from '../support/wire-bytes.js';
import { connectToScript, expectNoHandlesLeft, failure } from './hostile-client.js';

expectNoHandlesLeft();

const TIB = 2 ** 40;
const DISK = { size: 4 * TIB, mode: 'extended' } as const;

it('negotiates extended headers and uses them for every command', async () => {
  const seen: SentRequest[] = [];
  await using hostile = await connectToScript(DISK, async peer => {
    while (true) {
      const request = await peer.request(true);
      seen.push(request);
      if (request.type === 2) return;
      if (request.type === 0) {
        const { offset, length } = request;
        const head = extendedChunk(request, true, 1, `${be(offset, 8)} ${'00'.repeat(length)}`);
        peer.send(head.slice(0, -2 * length), diskBytes(offset, length));
      } else if (request.type === 7) {
        peer.send(
          extendedChunk(
            request,
            true,
            6,
            `${be(7, 4)} ${be(2, 4)} ${be(TIB, 8)} ${be(0, 8)} ${be(3 * TIB, 8)} ${be(3, 8)}`,
          ),
        );
      } else peer.send(extendedChunk(request, true, 0));
    }
  });
  const { client } = hostile;
  expect(client.info.replyMode).toBe('extended');

  const runs = await client.blockStatus(0, 4 * TIB);
  expect(runs.get('base:allocation')).toMatchObject({ offset: 0, total: 4 * TIB });
  expect([...runs.get('base:allocation')!.lengths]).toEqual([TIB, 3 * TIB]);
  expect([...runs.get('base:allocation')!.statuses]).toEqual([0, 3]);
  expect(Buffer.from(await client.read(3 * TIB, 100))).toEqual(diskBytes(3 * TIB, 100));
  await client.write(TIB, Buffer.from('abc'), { fua: true });
  await client.writeZeroes(0, 4096);
  await client.flush();
  await client.close();

  const sent = seen.map(({ type, flags, offset, length }) => [type, flags, offset, length]);
  expect(sent).toEqual([
    [7, 0, 0, 4 * TIB],
    [0, 0, 3 * TIB, 100],
    [1, 0x21, TIB, 3],
    [6, 0, 0, 4096],
    [3, 0, 0, 0],
    [2, 0, 0, 0],
  ]);
  expect(seen[2]!.data.toString()).toBe('abc');
});

it.each([
  [
    'a wrong echoed offset',
    (request: SentRequest) => extendedChunk({ ...request, offset: 513 }, true, 0),
    /offset 513.*512/,
  ],
  [
    'a compact structured reply',
    (request: SentRequest) => `668e33ef 0001 0000 ${be(request.cookie, 8)} 00000000`,
    /magic/,
  ],
  ['a simple reply', (request: SentRequest) => `67446698 00000000 ${be(request.cookie, 8)}`, /magic/],
  [
    'a payload above 2^53',
    (request: SentRequest) => `6e8a278c 0001 0001 ${be(request.cookie, 8)} ${be(512, 8)} 0100000000000000`,
    /payload/,
  ],
  [
    'data outside the request',
    (request: SentRequest) => extendedChunk(request, true, 1, `${be(511, 8)} 4142`),
    /outside/,
  ],
])('%s is refused', async (_name, answer, message) => {
  await using hostile = await connectToScript(DISK, async peer => {
    peer.send(answer(await peer.request(true)));
    await peer.gone();
  });
  const error = await failure(hostile.client.read(512, 16));
  expect(error).toMatchObject({ code: 'NBD_PROTOCOL' });
  expect(error.message).toMatch(message);
});

it.each([
  ['the compact form', `${be(7, 4)} ${be(16, 4)} ${be(0, 4)}`, 5, /extended mode/],
  [
    'a count that does not fit',
    `${be(7, 4)} ${be(2, 4)} ${be(16, 8)} ${be(0, 8)}`,
    6,
    /2 block status descriptors/,
  ],
  ['a length of zero', `${be(7, 4)} ${be(1, 4)} ${be(0, 8)} ${be(0, 8)}`, 6, /length 0/],
  ['a length above 2^53', `${be(7, 4)} ${be(1, 4)} ff00000000000000 ${be(0, 8)}`, 6, /block status length/],
])('block status with %s is refused', async (_name, payload, type, message) => {
  await using hostile = await connectToScript(DISK, async peer => {
    peer.send(extendedChunk(await peer.request(true), true, type, payload));
    await peer.gone();
  });
  const error = await failure(hostile.client.blockStatus(512, 16));
  expect(error).toMatchObject({ code: 'NBD_PROTOCOL' });
  expect(error.message).toMatch(message);
});

it('can be turned off', async () => {
  await using hostile = await connectToScript({ ...DISK, mode: 'structured' }, peer => peer.gone(), {
    extendedHeaders: false,
  });
  expect(hostile.client.info.replyMode).toBe('structured');
});
