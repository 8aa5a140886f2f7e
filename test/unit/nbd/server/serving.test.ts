/** Requests and replies over a real socket; every byte is written out from doc/proto.md. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { NbdeltaError } from '#nbdelta/errors.js';
import { type NbdServer, startNbdServer } from '#nbdelta/nbd/server/nbd-server.js';
import { type TempFolder, tempFolder } from '../../../support/temp-folder.js';
import { ascii, RawClient, wire } from './raw-client.js';
import { SampleSource } from './sample-source.js';

const KIB = 1024;
const content = Buffer.alloc(256 * KIB, Buffer.from('0123456789abcdef'));
content.fill(0, 64 * KIB, 128 * KIB);

const source = new SampleSource({
  content,
  maps: {
    'base:allocation': [
      { length: 64 * KIB, status: 0 },
      { length: 64 * KIB, status: 3 },
      { length: 64 * KIB, status: 1 },
      { length: 64 * KIB, status: 0 },
    ],
    'qemu:dirty-bitmap:b0': [
      { length: 192 * KIB, status: 0 },
      { length: 64 * KIB, status: 1 },
    ],
  },
  beforeRead: offset => {
    if (offset >= 200 * KIB) throw new Error('the archive is damaged at frame 7');
  },
});

/** One that contradicts itself, and one that has no map. */
const liar = new SampleSource({ content, maps: { 'base:allocation': [{ length: 0.5, status: 3 }] } });
const plain = new SampleSource({ content });

let folder: TempFolder;
let server: NbdServer;
let path: string;
const errors: NbdeltaError[] = [];

beforeAll(async () => {
  folder = await tempFolder();
  path = folder.file('s');
  server = await startNbdServer({
    exports: [
      { name: 'd', source },
      { name: 'liar', source: liar },
      { name: 'plain', source: plain },
      {
        name: 'big blocks',
        source: plain,
        blockSize: { minimum: 512, preferred: 4096, maximum: 65536 },
      },
    ],
    listen: { kind: 'unix', path },
    onError: error => errors.push(error),
  });
});
afterAll(async () => {
  await server.close();
  await folder[Symbol.asyncDispose]();
});

function option(number: string, data = ''): string {
  return `49484156454f5054 000000${number} ${u32(wire(data).length)} ${data}`;
}
const u32 = (value: number) => value.toString(16).padStart(8, '0');
const u64 = (value: number) => value.toString(16).padStart(16, '0');
const hex = (...parts: readonly string[]) => wire(...parts).toString('hex');
const name = (text: string) => `${u32(text.length)} ${ascii(text)}`;

const CONTEXTS = ['base:allocation', 'qemu:dirty-bitmap:b0'];
const setContexts = (exportName: string) =>
  option('0a', `${name(exportName)} ${u32(CONTEXTS.length)} ${CONTEXTS.map(name).join('')}`);

type Mode = 'simple' | 'structured' | 'extended';

/** Negotiates and leaves the stream at the first request. */
async function open(mode: Mode, exportName = 'd', contexts = false): Promise<RawClient> {
  const client = await RawClient.connect(path);
  client.send('00000003', mode === 'simple' ? '' : option(mode === 'structured' ? '08' : '0b'));
  if (contexts) client.send(setContexts(exportName));
  client.send(option('07', `${name(exportName)} 0000`));
  const granted = contexts ? 20 * 3 + 4 * 2 + 15 + 20 : 0;
  await client.take(18 + (mode === 'simple' ? 0 : 20) + granted + 20 + 12 + 20);
  return client;
}

const COOKIE = 'ffeeddccbbaa9988';
const request = (type: string, offset: string, length: number, flags = '0000') =>
  `25609513 ${flags} 00${type} ${COOKIE} ${offset} ${u32(length)}`;
const extendedRequest = (type: string, offset: string, length: string, flags = '0000') =>
  `21e41c71 ${flags} 00${type} ${COOKIE} ${offset} ${length}`;
const chunk = (flags: string, type: string, payload: string) =>
  `668e33ef ${flags} ${type} ${COOKIE} ${u32(wire(payload).length)} ${payload}`;
const extendedChunk = (offset: string, flags: string, type: string, payload: string) =>
  `6e8a278c ${flags} ${type} ${COOKIE} ${offset} ${u64(wire(payload).length)} ${payload}`;
const simple = (errno: number, data = '') => `67446698 ${u32(errno)} ${COOKIE} ${data}`;

async function expectReply(client: RawClient, ...expected: readonly string[]): Promise<void> {
  const all = hex(...expected);
  expect(await client.take(all.length / 2)).toBe(all);
}

/** A structured error chunk with that value; returns its message. */
async function takeError(client: RawClient, errno: number): Promise<string> {
  const head = await client.take(26);
  expect(head.slice(0, 32)).toBe(hex(`668e33ef 0001 8001 ${COOKIE}`));
  expect(head.slice(40, 48)).toBe(u32(errno));
  const length = Number.parseInt(head.slice(48), 16);
  expect(Number.parseInt(head.slice(32, 40), 16)).toBe(6 + length);
  return Buffer.from(await client.take(length), 'hex').toString();
}

describe('simple replies', () => {
  it('answers a read with header and data, echoing all 64 bits of the cookie', async () => {
    using client = await open('simple');
    client.send(request('00', u64(10), 8));
    await expectReply(client, simple(0, ascii('abcdef01')));
  });

  it('reads zeroes like anything else', async () => {
    using client = await open('simple');
    client.send(request('00', u64(64 * KIB - 2), 6));
    await expectReply(client, simple(0, `${ascii('ef')} 00000000`));
  });

  it('answers errors without data and goes on', async () => {
    using client = await open('simple');
    client.send(
      request('00', u64(256 * KIB - 1), 2),
      request('00', u64(200 * KIB), 16),
      request('07', u64(0), 512),
      request('00', u64(0), 2, '0004'),
      request('00', u64(0), 2),
    );
    const replies = [
      await client.take(16),
      await client.take(16),
      await client.take(16),
      await client.take(16),
    ];
    expect(replies.sort()).toEqual([simple(5), simple(22), simple(22), simple(22)].map(text => hex(text)));
    await expectReply(client, simple(0, ascii('01')));
  });
});

describe('structured replies', () => {
  it('answers a read with one data chunk', async () => {
    using client = await open('structured');
    client.send(request('00', u64(10), 8));
    await expectReply(client, chunk('0001', '0001', `${u64(10)} ${ascii('abcdef01')}`));
  });

  it('answers known zeroes with a hole that nobody reads; a hole without ZERO is read', async () => {
    using client = await open('structured');
    const before = source.reads.length;
    client.send(request('00', u64(60 * KIB), 72 * KIB));
    const data = (offset: number, length: number) =>
      `${u64(offset)} ${content.subarray(offset, offset + length).toString('hex')}`;
    await expectReply(
      client,
      chunk('0000', '0001', data(60 * KIB, 4 * KIB)),
      chunk('0000', '0002', `${u64(64 * KIB)} ${u32(64 * KIB)}`),
      chunk('0001', '0001', data(128 * KIB, 4 * KIB)),
    );
    expect(source.reads.slice(before)).toEqual([
      { offset: 60 * KIB, length: 4 * KIB },
      { offset: 128 * KIB, length: 4 * KIB },
    ]);
  });

  it('answers a read of zeroes alone with one final hole', async () => {
    using client = await open('structured');
    client.send(request('00', u64(80 * KIB), 16 * KIB));
    await expectReply(client, chunk('0001', '0002', `${u64(80 * KIB)} ${u32(16 * KIB)}`));
  });

  it('does not fragment with NBD_CMD_FLAG_DF', async () => {
    using client = await open('structured');
    client.send(request('00', u64(60 * KIB), 8 * KIB, '0004'));
    const data = content.subarray(60 * KIB, 68 * KIB).toString('hex');
    await expectReply(client, chunk('0001', '0001', `${u64(60 * KIB)} ${data}`));
  });

  it('reads nothing with success', async () => {
    using client = await open('structured');
    client.send(request('00', u64(256 * KIB), 0));
    await expectReply(client, chunk('0001', '0000', ''));
  });

  it("answers EIO with the source's words, and never with the data before it", async () => {
    using client = await open('structured');
    client.send(request('00', u64(200 * KIB), 1024));
    expect(await takeError(client, 5)).toBe('the archive is damaged at frame 7');
    expect(errors.at(-1)?.message).toMatch(/client unix:.*damaged at frame 7/);
    client.send(request('00', u64(0), 1024), request('00', u64(200 * KIB), 56 * KIB));
    await client.take(20 + 8 + 1024);
    expect(await takeError(client, 5)).toBe('the archive is damaged at frame 7');
  });

  it.each([
    ['read past the end', '00', u64(256 * KIB - 1), 2, '0000', 22],
    ['read at 2^64-1', '00', 'ffffffffffffffff', 1, '0000', 22],
    ['read of more than 32 MiB', '00', u64(0), 0x2000001, '0000', 22],
    ['read with an unknown flag', '00', u64(0), 1, '0001', 22],
    ['trim', '04', u64(0), 512, '0000', 1],
    ['write zeroes', '06', u64(0), 512, '0002', 1],
    ['unknown command', '08', u64(0), 1, '0000', 22],
    ['cache past the end', '05', u64(256 * KIB), 1, '0000', 22],
    ['cache with a flag', '05', u64(0), 1, '0004', 22],
    ['flush of a range', '03', u64(1), 1, '0000', 22],
    ['block status without a context', '07', u64(0), 512, '0000', 22],
    ['payload flag in a compact request', '00', u64(0), 512, '0020', 22],
  ] as const)('refuses a %s', async (_what, type, offset, length, flags, errno) => {
    using client = await open('structured');
    client.send(request(type, offset, length, flags));
    expect(await takeError(client, errno)).not.toBe('');
    client.send(request('03', u64(0), 0));
    await expectReply(client, chunk('0001', '0000', ''));
  });

  it('takes flush and cache', async () => {
    using client = await open('structured');
    client.send(request('03', u64(0), 0), request('05', u64(0), 256 * KIB));
    await expectReply(client, chunk('0001', '0000', ''), chunk('0001', '0000', ''));
  });

  it('consumes what a write brings and stays in step', async () => {
    using client = await open('structured');
    client.send(request('01', u64(0), 100_000), 'ee'.repeat(100_000), request('00', u64(1), 1));
    expect(await takeError(client, 1)).toBe('the export is read-only');
    await expectReply(client, chunk('0001', '0001', `${u64(1)} ${ascii('1')}`));
  });

  it('closes after NBD_CMD_DISC, when all replies are out', async () => {
    using client = await open('structured');
    client.send(request('00', u64(0), 2), request('02', u64(0), 0));
    expect(await client.rest()).toBe(hex(chunk('0001', '0001', `${u64(0)} ${ascii('01')}`)));
  });

  it('works on requests at the same time', async () => {
    let release: () => void = () => undefined;
    const slow = new SampleSource({
      content: Buffer.alloc(1024, 'x'),
      beforeRead: offset =>
        offset === 0
          ? new Promise<void>(resolve => {
              release = resolve;
            })
          : undefined,
    });
    const listen = { kind: 'unix', path: folder.file('slow') } as const;
    await using other = await startNbdServer({ exports: [{ name: '', source: slow }], listen });
    using client = await RawClient.connect(folder.file('slow'));
    client.send('00000003', option('07', `${name('')} 0000`));
    await client.take(18 + 20 + 12 + 20);
    client.send(request('00', u64(0), 1).replace(COOKIE, u64(1)), request('00', u64(1), 1));
    await expectReply(client, simple(0, ascii('x')));
    expect(other.connections).toBe(1);
    release();
    await expectReply(client, simple(0, ascii('x')).replace(COOKIE, u64(1)));
  });
});

describe('block status', () => {
  it('answers one chunk for each context', async () => {
    using client = await open('structured', 'd', true);
    client.send(request('07', u64(32 * KIB), 128 * KIB));
    const allocation = `${u32(32 * KIB)} 00000000 ${u32(64 * KIB)} 00000003 ${u32(32 * KIB)} 00000001`;
    await expectReply(
      client,
      chunk('0000', '0005', `00000000 ${allocation}`),
      chunk('0001', '0005', `00000001 ${u32(128 * KIB)} 00000000`),
    );
  });

  it('answers one extent with NBD_CMD_FLAG_REQ_ONE', async () => {
    using client = await open('structured', 'd', true);
    client.send(request('07', u64(96 * KIB), 160 * KIB, '0008'));
    await expectReply(
      client,
      chunk('0000', '0005', `00000000 ${u32(32 * KIB)} 00000003`),
      chunk('0001', '0005', `00000001 ${u32(96 * KIB)} 00000000`),
    );
  });

  it('has descriptors of 64 bits with extended headers', async () => {
    using client = await open('extended', 'd', true);
    const offset = u64(160 * KIB);
    client.send(extendedRequest('07', offset, u64(96 * KIB)));
    const allocation = `00000000 00000002 ${u64(32 * KIB)} ${u64(1)} ${u64(64 * KIB)} ${u64(0)}`;
    const bitmap = `00000001 00000002 ${u64(32 * KIB)} ${u64(0)} ${u64(64 * KIB)} ${u64(1)}`;
    await expectReply(
      client,
      extendedChunk(offset, '0000', '0006', allocation),
      extendedChunk(offset, '0001', '0006', bitmap),
    );
  });

  it('refuses an empty range', async () => {
    using client = await open('structured', 'd', true);
    client.send(request('07', u64(0), 0));
    await takeError(client, 22);
  });
});

describe('extended headers', () => {
  it("answers with the request's offset in every header", async () => {
    using client = await open('extended');
    const offset = u64(60 * KIB);
    client.send(extendedRequest('00', offset, u64(72 * KIB)));
    const data = (from: number) => `${u64(from)} ${content.subarray(from, from + 4 * KIB).toString('hex')}`;
    await expectReply(
      client,
      extendedChunk(offset, '0000', '0001', data(60 * KIB)),
      extendedChunk(offset, '0000', '0002', `${u64(64 * KIB)} ${u32(64 * KIB)}`),
      extendedChunk(offset, '0001', '0001', data(128 * KIB)),
    );
  });

  it.each([
    ['offset of 2^64-1', '00', 'ffffffffffffffff', u64(1), '0000', 22],
    ['length of 2^64-1', '00', u64(0), 'ffffffffffffffff', '0000', 22],
    ['read with a payload', '00', u64(0), u64(4), '0020', 22],
    ['block status with a payload', '07', u64(0), u64(4), '0020', 22],
    ['write without a payload', '01', u64(0), u64(4), '0000', 22],
    ['write', '01', u64(0), u64(4), '0020', 1],
  ] as const)('refuses a %s, in step', async (_what, type, offset, length, flags, errno) => {
    using client = await open('extended');
    client.send(extendedRequest(type, offset, length, flags), flags === '0020' ? 'eeeeeeee' : '');
    const head = await client.take(38);
    expect(head.slice(0, 48)).toBe(hex(`6e8a278c 0001 8001 ${COOKIE} ${offset}`));
    expect(head.slice(64, 72)).toBe(u32(errno));
    await client.take(Number.parseInt(head.slice(72), 16));
    client.send(extendedRequest('03', u64(0), u64(0)));
    await expectReply(client, extendedChunk(u64(0), '0001', '0000', ''));
  });
});

describe('sources', () => {
  it('that contradict themselves are an error, not zeroes', async () => {
    using client = await open('structured', 'liar');
    client.send(request('00', u64(0), 8192));
    expect(await takeError(client, 5)).toMatch(/extent 0 has length 0.5/);
  });

  it('without a map are read', async () => {
    using client = await open('structured', 'plain');
    client.send(request('00', u64(64 * KIB), 8192));
    await expectReply(client, chunk('0001', '0001', `${u64(64 * KIB)} ${'00'.repeat(8192)}`));
  });

  it('with block sizes of their own have them enforced', async () => {
    using client = await open('structured', 'big blocks');
    client.send(request('00', u64(1), 512));
    expect(await takeError(client, 22)).toMatch(/not aligned to 512/);
    client.send(request('00', u64(0), 66_048));
    expect(await takeError(client, 22)).toMatch(/at most 65536/);
  });
});

describe('messages in pieces', () => {
  /** A whole session, as one message. */
  const session = wire(
    '00000003',
    option('08'),
    setContexts('d'),
    option('06', `${name('d')} 0001 0003`),
    option('ff', '0102'),
    option('07', `${name('d')} 0000`),
    request('07', u64(0), 64 * KIB),
    request('01', u64(0), 5),
    'eeeeeeeeee',
    request('00', u64(3), 4),
    request('02', u64(0), 0),
  );

  async function answerTo(at: number): Promise<string> {
    using client = await RawClient.connect(path);
    await client.sendSplit(session, at);
    return await client.rest();
  }

  it('are understood wherever they are cut', { timeout: 60_000 }, async () => {
    const whole = await answerTo(session.length);
    expect(whole).toContain(hex(`0001 ${COOKIE} 0000000c ${u64(3)} ${ascii('3456')}`));
    const optionPart = whole.indexOf('668e33ef');
    for (let at = 1; at < session.length; at++) {
      const answer = await answerTo(at);
      expect(answer, `cut at ${at}`).toHaveLength(whole.length);
      // Replies to requests may come in any order; those to options may not.
      expect(answer.slice(0, optionPart), `cut at ${at}`).toBe(whole.slice(0, optionPart));
    }
  });

  it('are understood byte by byte', async () => {
    using client = await RawClient.connect(path);
    for (const byte of session) await client.sendSplit(Buffer.of(byte), 0);
    expect(await client.rest()).toHaveLength((await answerTo(session.length)).length);
  });
});
