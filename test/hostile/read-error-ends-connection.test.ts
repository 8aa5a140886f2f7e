/**
 * QEMU ends the connection when the storage fails a read, unless the read must not be fragmented (DF): see
 * test/interop/qemu-read-error.test.ts. One bad sector used to fail every read that was in flight beside it.
 */
import { expect, it } from 'vitest';
import { answerHonestly, chunk, diskBytes, FLAGS, serveHonestly } from '../support/scripted-nbd.js';
import type { SentRequest } from '../support/scripted-peer.js';
import type { Script } from '../support/scripted-server.js';
import { connectToScript, expectNoHandlesLeft, failure } from './hostile-client.js';

expectNoHandlesLeft();

const DISK = { size: 1 << 20 };
const BAD = 500_000;
const SEND_DF = 0x0080;
/** NBD_REPLY_TYPE_ERROR: EIO, EOVERFLOW; no message. */
const EIO = '00000005 0000';
const EOVERFLOW = '0000004b 0000';

function isBad({ offset, length }: SentRequest): boolean {
  return offset <= BAD && BAD < offset + length;
}

/** Ends the connection at a read of the bad byte, as QEMU does; `whole` answers one with DF. */
function failingDisk(flags: number[], whole: string): Script {
  return async peer => {
    while (true) {
      const request = await peer.request();
      if (request.type === 2) return;
      if (!isBad(request)) {
        answerHonestly(peer, request);
        continue;
      }
      flags.push(request.flags);
      if (request.flags === 0) return peer.cut();
      peer.send(chunk(request.cookie, true, 0x8001, whole));
    }
  };
}

it('a read that ends its connection gets its own error, and the reads beside it go on', async () => {
  const flags: number[] = [];
  await using hostile = await connectToScript(DISK, failingDisk(flags, EIO), { retries: 1 });
  const { client, server } = hostile;
  const beside = Array.from({ length: 10 }, (_, index) => client.read(index * 1000, 1000));
  const bad = failure(client.read(BAD - 100, 200));
  const after = Array.from({ length: 10 }, (_, index) => client.read(600_000 + index * 1000, 1000));
  expect(await bad).toMatchObject({ code: 'NBD_COMMAND_FAILED', errno: 5, fields: { offset: BAD - 100 } });
  const bytes = await Promise.all([...beside, ...after]);
  bytes.forEach((part, index) => {
    const offset = index < 10 ? index * 1000 : 600_000 + (index - 10) * 1000;
    expect(diskBytes(offset, 1000).equals(part)).toBe(true);
  });
  expect(flags).toEqual([0, 4]);
  expect(server.accepted).toBe(2);
});

it('a server that cannot answer it in one chunk is asked once more without the flag', async () => {
  const flags: number[] = [];
  const script: Script = (peer, index) =>
    index < 1 ? failingDisk(flags, EOVERFLOW)(peer, index) : overflowing(flags)(peer, index);
  await using hostile = await connectToScript(DISK, script, { retries: 1 });
  const bytes = await hostile.client.read(BAD, 100_000);
  expect(diskBytes(BAD, 100_000).equals(bytes)).toBe(true);
  expect(flags).toEqual([0, 4, 0]);
});

/** Reads with DF are too large for one chunk; others are answered. */
function overflowing(flags: number[]): Script {
  return async peer => {
    while (true) {
      const request = await peer.request();
      if (request.type === 2) return;
      flags.push(request.flags);
      if (request.flags === 0) answerHonestly(peer, request);
      else peer.send(chunk(request.cookie, true, 0x8001, EOVERFLOW));
    }
  };
}

it('a server without NBD_FLAG_SEND_DF never gets the flag', async () => {
  const flags: number[] = [];
  const disk = { ...DISK, flags: FLAGS & ~SEND_DF };
  await using hostile = await connectToScript(disk, failingDisk(flags, EIO), { retries: 2 });
  expect(await failure(hostile.client.read(BAD, 1))).toMatchObject({ code: 'NBD_CONNECTION_LOST' });
  expect(flags).toEqual([0, 0, 0]);
});

it('reads have the flag only after a connection died under them', async () => {
  const flags: number[] = [];
  const script: Script = async peer => {
    const request = await peer.request();
    flags.push(request.flags);
    answerHonestly(peer, request);
    await serveHonestly(peer);
  };
  await using hostile = await connectToScript(DISK, script, { retries: 3 });
  await hostile.client.read(0, 512);
  expect(flags).toEqual([0]);
});
