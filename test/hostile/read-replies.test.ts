import { expect, it } from 'vitest';
import { answerHonestly, chunk, dataHead, diskBytes, simpleReply } from '../support/scripted-nbd.js';
import { be } from '../support/wire-bytes.js';
import { connectToScript, expectNoHandlesLeft, failure } from './hostile-client.js';

expectNoHandlesLeft();

const DISK = { size: 1 << 20 };
const bytes = (length: number) => '41'.repeat(length);

/** Answers to a read of 16 bytes at 512 that break the protocol. */
const LIES: readonly (readonly [string, (cookie: number) => string, RegExp])[] = [
  ['a wrong reply magic', cookie => `67446699 ${be(0, 4)} ${be(cookie, 8)}`, /reply magic is 0x67446699/],
  ['a wrong cookie', cookie => chunk(cookie + 1000, true, 0), /cookie/],
  ['an unknown chunk type', cookie => chunk(cookie, true, 3), /unknown reply chunk type 3/],
  ['data before the request', cookie => dataHead(cookie, true, 511, 16) + bytes(16), /outside its request/],
  ['data behind the request', cookie => dataHead(cookie, true, 513, 16) + bytes(16), /outside its request/],
  ['more data than asked for', cookie => dataHead(cookie, true, 512, 17) + bytes(17), /outside its request/],
  [
    'overlapping data',
    cookie => dataHead(cookie, false, 512, 9) + bytes(9) + dataHead(cookie, true, 520, 8) + bytes(8),
    /twice/,
  ],
  [
    'a hole over data',
    cookie => dataHead(cookie, false, 512, 9) + bytes(9) + chunk(cookie, true, 2, be(520, 8) + be(8, 4)),
    /twice/,
  ],
  ['data twice', cookie => `${dataHead(cookie, false, 512, 8)}${bytes(8)}`.repeat(2), /twice/],
  ['too little data with DONE', cookie => dataHead(cookie, true, 512, 15) + bytes(15), /15 of 16 bytes/],
  [
    'a gap in the middle',
    cookie => dataHead(cookie, false, 512, 4) + bytes(4) + dataHead(cookie, true, 520, 8) + bytes(8),
    /12 of 16 bytes/,
  ],
  ['nothing with DONE', cookie => chunk(cookie, true, 0), /0 of 16 bytes/],
  ['NONE without DONE', cookie => chunk(cookie, false, 0), /without NBD_REPLY_FLAG_DONE/],
  ['a simple reply', cookie => simpleReply(cookie) + bytes(16), /simple reply to NBD_CMD_READ/],
  [
    'a block status',
    cookie => chunk(cookie, true, 5, `${be(7, 4)} ${be(16, 4)} ${be(0, 4)}`),
    /block status for/,
  ],
  [
    'an error with a huge message length',
    cookie => chunk(cookie, true, 0x8001, '00000005 ffff'),
    /needs 65541/,
  ],
  ['a huge error', cookie => `668e33ef 0001 8001 ${be(cookie, 8)} 7fffffff`, /2147483647 bytes/],
];

it.each(LIES)('%s ends the connection; each command has its own error', async (_name, lie, message) => {
  await using hostile = await connectToScript(DISK, async peer => {
    const first = await peer.request();
    await peer.request();
    await peer.request();
    peer.send(lie(first.cookie));
    await peer.gone();
  });
  const { client } = hostile;
  const targets = [Buffer.alloc(16, 1), Buffer.alloc(32, 2)];
  const reads = [
    client.readInto(512, targets[0]!),
    client.readInto(1024, targets[1]!),
    client.blockStatus(0, 64),
  ];
  const errors = await Promise.all(reads.map(failure));
  for (const error of errors) {
    expect(error).toMatchObject({ code: 'NBD_PROTOCOL', retryable: false });
    expect(error.message).toMatch(message);
    expect(error.fields).toMatchObject({ export: 'disk' });
  }
  expect(new Set(errors).size).toBe(3);
  expect(errors.map(error => error.fields['offset'])).toEqual([512, 1024, 0]);
  expect(targets[1]).toEqual(Buffer.alloc(32, 2));
});

it('EIO fails one command and disturbs nobody: before, between and behind it', async () => {
  await using hostile = await connectToScript(DISK, async peer => {
    const requests = [await peer.request(), await peer.request(), await peer.request()];
    const [first, second, third] = requests;
    peer.send(dataHead(second!.cookie, false, second!.offset, 4), diskBytes(second!.offset, 4));
    peer.send(chunk(second!.cookie, false, 0x8002, `00000005 0003 626164 ${be(second!.offset + 4, 8)}`));
    answerHonestly(peer, first!);
    answerHonestly(peer, third!);
    peer.send(chunk(second!.cookie, true, 0));
    const next = await peer.request();
    answerHonestly(peer, next);
    await peer.gone();
  });
  const { client, server } = hostile;
  const reads = [client.read(0, 64), client.read(4096, 64), client.read(8192, 64)];
  const error = await failure(reads[1]!);
  expect(error).toMatchObject({
    code: 'NBD_COMMAND_FAILED',
    errno: 5,
    retryable: false,
    fields: { offset: 4096, length: 64, errnoName: 'EIO' },
  });
  expect(error.message).toMatch(/NBD_CMD_READ 4096\+64 of export "disk" failed at 4100: EIO \("bad"\)/);
  expect(Buffer.from(await reads[0]!)).toEqual(diskBytes(0, 64));
  expect(Buffer.from(await reads[2]!)).toEqual(diskBytes(8192, 64));
  expect(Buffer.from(await client.read(16, 16))).toEqual(diskBytes(16, 16));
  expect(server.accepted).toBe(1);
});

it('two commands that fail for the same reason have two error objects', async () => {
  await using hostile = await connectToScript(DISK, async peer => {
    for (let count = 0; count < 2; count++) {
      const { cookie } = await peer.request();
      peer.send(chunk(cookie, true, 0x8001, '0000006c 0000'));
    }
    await peer.gone();
  });
  const { client } = hostile;
  const errors = await Promise.all([failure(client.read(0, 1)), failure(client.read(0, 1))]);
  expect(errors[0]).not.toBe(errors[1]);
  expect(errors[0]).toMatchObject({ errno: 108, message: expect.stringMatching(/ESHUTDOWN/) });
  expect(errors[0]!.hint).toMatch(/shutting down/);
});

it('an error value 0 in an error chunk is an error all the same', async () => {
  await using hostile = await connectToScript(DISK, async peer => {
    const { cookie } = await peer.request();
    peer.send(chunk(cookie, true, 0x8001, '00000000 0000'));
    await peer.gone();
  });
  expect(await failure(hostile.client.read(0, 1))).toMatchObject({ code: 'NBD_COMMAND_FAILED', errno: 22 });
});
