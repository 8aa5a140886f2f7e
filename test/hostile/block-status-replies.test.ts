import { expect, it } from 'vitest';
import { readChangeMap } from '#nbdelta/changes/change-map.js';
import { chunk } from '../support/scripted-nbd.js';
import { be } from '../support/wire-bytes.js';
import { connectToScript, expectNoHandlesLeft, failure } from './hostile-client.js';

expectNoHandlesLeft();

const BITMAP = 'qemu:dirty-bitmap:b';
const DISK = { size: 1 << 20, contexts: { 'base:allocation': 7, [BITMAP]: 9 } };
const CONTEXTS = { contexts: ['base:allocation', BITMAP] };

const status = (
  cookie: number,
  done: boolean,
  id: number,
  ...extents: readonly (readonly [number, number])[]
) =>
  chunk(cookie, done, 5, be(id, 4) + extents.map(([length, flags]) => be(length, 4) + be(flags, 4)).join(''));

it.each([
  ['a length of zero', (cookie: number) => status(cookie, true, 7, [0, 0]), /length 0/],
  [
    'two chunks of one context',
    (cookie: number) => status(cookie, false, 7, [1, 0]) + status(cookie, true, 7, [1, 0]),
    /two block status chunks/,
  ],
  ['one context missing', (cookie: number) => status(cookie, true, 7, [1, 0]), /1 of 2 meta contexts/],
  ['no context at all', (cookie: number) => chunk(cookie, true, 0), /0 of 2 meta contexts/],
  ['an unknown context id', (cookie: number) => status(cookie, true, 8, [1, 0]), /unknown meta context id 8/],
  ['no descriptor', (cookie: number) => chunk(cookie, true, 5, be(7, 4)), /4 bytes/],
  ['half a descriptor', (cookie: number) => chunk(cookie, true, 5, `${be(7, 4)} ${be(1, 4)}`), /8 bytes/],
  [
    '2^20+1 descriptors',
    (cookie: number) => `668e33ef 0001 0005 ${be(cookie, 8)} ${be(4 + 8 * ((1 << 20) + 1), 4)}`,
    /8388620 bytes/,
  ],
  [
    '4 GiB of descriptors',
    (cookie: number) => `668e33ef 0001 0005 ${be(cookie, 8)} fffffffc`,
    /4294967292 bytes/,
  ],
  [
    'the 64-bit form',
    (cookie: number) => chunk(cookie, true, 6, `${be(7, 4)} ${be(1, 4)} ${be(1, 8)} ${be(0, 8)}`),
    /structured mode/,
  ],
  ['data', (cookie: number) => chunk(cookie, true, 1, `${be(0, 8)} 41`), /not a read/],
])('%s', async (_name, answer, message) => {
  await using hostile = await connectToScript(
    DISK,
    async peer => {
      peer.send(answer((await peer.request()).cookie));
      await peer.gone();
    },
    CONTEXTS,
  );
  const error = await failure(hostile.client.blockStatus(0, 1 << 20));
  expect(error).toMatchObject({ code: 'NBD_PROTOCOL' });
  expect(error.message).toMatch(message);
});

it('an error for block status fails that command alone, also behind a chunk of it', async () => {
  await using hostile = await connectToScript(
    DISK,
    async peer => {
      const first = await peer.request();
      peer.send(status(first.cookie, false, 7, [1, 0]), chunk(first.cookie, true, 0x8001, '00000016 0000'));
      const second = await peer.request();
      peer.send(
        status(second.cookie, false, 9, [5, 1]),
        status(second.cookie, true, 7, [1 << 30, 0], [3, 3]),
      );
      await peer.gone();
    },
    CONTEXTS,
  );
  const { client } = hostile;
  expect(await failure(client.blockStatus(0, 8))).toMatchObject({ code: 'NBD_COMMAND_FAILED', errno: 22 });
  const runs = await client.blockStatus(0, 8);
  expect([...runs.keys()]).toEqual(['base:allocation', BITMAP]);
  expect(runs.get('base:allocation')).toMatchObject({ offset: 0, total: (1 << 30) + 3 });
  expect([...runs.get(BITMAP)!.statuses]).toEqual([1]);
});

it('a bitmap that was not granted is an error, not "nothing is dirty"', async () => {
  await using hostile = await connectToScript({ size: 4096 }, peer => peer.gone(), CONTEXTS);
  expect(await failure(readChangeMap(hostile.client, { bitmap: 'b' }))).toMatchObject({
    code: 'NBD_CONTEXT_MISSING',
  });
});
