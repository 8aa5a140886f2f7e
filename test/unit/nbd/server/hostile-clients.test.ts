/** Clients that lie, stall, vanish or talk nonsense: they lose their own connection, and nobody else's. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { NbdeltaError } from '#nbdelta/errors.js';
import { type NbdServer, type NbdServerOptions, startNbdServer } from '#nbdelta/nbd/server/nbd-server.js';
import { waitFor } from '../../../support/processes.js';
import { SeededRandom } from '../../../support/random.js';
import { type TempFolder, tempFolder } from '../../../support/temp-folder.js';
import { RawClient } from './raw-client.js';
import { type SampleOptions, SampleSource } from './sample-source.js';
import { enter, option, request, u32, u64 } from './session.js';

const MIB = 2 ** 20;
const content = Buffer.alloc(16 * MIB, 'nbdelta!');

let folder: TempFolder;
let path: string;
let server: NbdServer;
let source: SampleSource;
let errors: NbdeltaError[];

beforeEach(async () => {
  folder = await tempFolder();
  path = folder.file('s');
});
afterEach(async () => {
  await server.close();
  await folder[Symbol.asyncDispose]();
});

async function start(
  options: Partial<NbdServerOptions> = {},
  sample: Partial<SampleOptions> = {},
): Promise<void> {
  errors = [];
  source = new SampleSource({ content, ...sample });
  server = await startNbdServer({
    exports: [{ name: '', source }],
    listen: { kind: 'unix', path },
    onError: error => errors.push(error),
    ...options,
  });
}

/** The server still does what it is for. */
async function expectService(): Promise<void> {
  using client = await enter(path);
  client.send(request('00', 8, 8));
  expect(await client.take(24)).toBe(`6744669800000000${u64(7)}${Buffer.from('nbdelta!').toString('hex')}`);
}

const closed = () => waitFor(() => server.connections === 0, 'the end of the connection');

describe('nonsense', () => {
  it('of random bytes ends one connection at a time', async () => {
    await start();
    using bystander = await enter(path);
    const random = new SeededRandom(20261122);
    for (let round = 0; round < 40; round++) {
      using client = await RawClient.connect(path);
      client.socket.write(random.bytes(1 + random.below(400)));
      client.socket.end();
      await client.rest();
    }
    bystander.send(request('00', 0, 1));
    expect(await bystander.take(17)).toMatch(/6e$/);
    expect(errors.length).toBeGreaterThan(20);
    expect(
      errors.every(error => error.code.startsWith('NBD_') && error.message.startsWith('client unix:')),
    ).toBe(true);
  });

  it('behind a good handshake ends the connection', async () => {
    await start();
    using client = await enter(path);
    client.send('ff'.repeat(28));
    expect(await client.rest()).toBe('');
    await closed();
    expect(errors).toMatchObject([{ code: 'NBD_PROTOCOL', message: /request magic is 0xffffffff/ }]);
    await expectService();
  });

  it('of HTTP gets no answer but the greeting', async () => {
    await start();
    using client = await RawClient.connect(path);
    client.socket.write('GET / HTTP/1.1\r\n\r\n');
    expect(await client.rest()).toHaveLength(36);
    await expectService();
  });

  it('mutated from a good session never stops the server', async () => {
    await start();
    const good = Buffer.from(
      [
        '00000003',
        option('08'),
        option('0a', `00000000 00000001 ${u32(15)} ${Buffer.from('base:allocation').toString('hex')}`),
        option('07', '00000000 0000'),
        request('00', 0, 4096),
        request('02', 0, 0),
      ]
        .join('')
        .replace(/\s/g, ''),
      'hex',
    );
    const random = new SeededRandom(7);
    for (let round = 0; round < 150; round++) {
      const bad = Buffer.from(good);
      for (let change = 0; change <= random.below(3); change++)
        bad[random.below(bad.length)] = random.next() & 0xff;
      using client = await RawClient.connect(path);
      client.socket.end(bad);
      await client.rest();
    }
    await closed();
    await expectService();
  });
});

describe('stalling', () => {
  it('in the handshake ends when its time is over, whatever drips in', async () => {
    await start({ handshakeTimeoutMs: 150 });
    using silent = await RawClient.connect(path);
    using dripping = await RawClient.connect(path);
    const drip = setInterval(() => dripping.socket.write(Buffer.alloc(1)), 20);
    await Promise.all([silent.rest(), dripping.rest()]);
    clearInterval(drip);
    await closed();
    expect(errors.map(error => error.code)).toEqual(['NBD_TIMEOUT', 'NBD_TIMEOUT']);
  });

  it('after the handshake is allowed', async () => {
    await start({ handshakeTimeoutMs: 100 });
    using client = await enter(path);
    await sleep(250);
    client.send(request('00', 0, 1));
    expect(await client.take(17)).toMatch(/6e$/);
  });

  it('by not reading replies costs bounded memory and nobody else', async () => {
    await start();
    using stalled = await enter(path);
    stalled.socket.pause();
    const count = 60;
    for (let number = 0; number < count; number++) stalled.send(request('00', 0, 4 * MIB, number));
    await waitFor(() => source.reads.length >= 8, 'the first reads');
    await sleep(100);
    // 32 MiB in flight, and what the kernel took.
    expect(source.reads.length).toBeLessThan(8 + 3);
    await expectService();
    stalled.socket.resume();
    for (let number = 0; number < count; number++) await stalled.takeBytes(16 + 4 * MIB);
    expect(source.reads).toHaveLength(count + 1);
  });

  it('by not reading option replies does not pile them up', async () => {
    const exports = Array.from({ length: 500 }, (_, number) => ({
      name: `disk-${number}`,
      description: 'd'.repeat(4000),
      source: new SampleSource({ content }),
    }));
    await start({ exports });
    using client = await RawClient.connect(path);
    await client.take(18);
    client.socket.pause();
    client.send('00000003', option('03').repeat(2000));
    const before = process.memoryUsage().rss;
    await sleep(300);
    expect(process.memoryUsage().rss - before).toBeLessThan(100 * MIB);
  });

  it('sixteen requests at a time are worked on, not more', async () => {
    let release: () => void = () => undefined;
    const gate = new Promise<void>(resolve => {
      release = resolve;
    });
    await start({}, { beforeRead: () => gate });
    using client = await enter(path);
    for (let number = 0; number < 40; number++) client.send(request('00', 0, 1, number));
    await waitFor(() => source.reading === 16, 'sixteen reads');
    await sleep(50);
    expect(source.reads).toHaveLength(16);
    release();
    await client.take(40 * 17);
  });
});

describe('oversize', () => {
  it('options are skipped or end the connection, and take no memory', async () => {
    await start();
    using client = await RawClient.connect(path);
    client.send('00000003', `49484156454f5054 00000007 ${u32(1_000_000)}`, '00'.repeat(1_000_000));
    await client.take(18);
    expect((await client.take(16)).slice(24)).toBe('80000009');
    client.send(`49484156454f5054 00000007 ffffffff`);
    await client.rest();
    await closed();
    expect(errors).toMatchObject([{ code: 'NBD_PROTOCOL', message: /4294967295 bytes/ }]);
  });

  it('writes end the connection, those within the limit are read to their end', async () => {
    await start();
    using client = await enter(path);
    client.send(request('01', 0, 32 * MIB));
    const half = Buffer.alloc(MIB, 0xee);
    for (let part = 0; part < 32; part++) client.socket.write(half);
    client.send(request('00', 0, 1));
    expect(await client.take(16)).toBe(`6744669800000001${u64(7)}`);
    expect(await client.take(17)).toMatch(/6e$/);
    client.send(request('01', 0, 32 * MIB + 1));
    expect(await client.rest()).toBe('');
    await closed();
    expect(errors).toMatchObject([{ code: 'NBD_PROTOCOL', message: /payload of 33554433 bytes/ }]);
  });
});

describe('vanishing', () => {
  it('in the middle of a reply stops the work for it', async () => {
    const signals: AbortSignal[] = [];
    await start(
      {},
      {
        beforeRead: (_offset, length, signal) => {
          if (length !== MIB || !signal) return undefined;
          signals.push(signal);
          return new Promise((_resolve, reject) =>
            signal.addEventListener('abort', () => reject(signal.reason)),
          );
        },
      },
    );
    const client = await enter(path);
    client.send(request('00', 0, 4 * MIB), request('00', 0, MIB));
    await client.take(1000);
    await waitFor(() => signals.length === 1, 'the second read');
    client.socket.destroy();
    await closed();
    expect(signals[0]?.aborted).toBe(true);
    expect(errors).toHaveLength(1);
    expect(errors[0]).toMatchObject({ code: 'NBD_CONNECTION_LOST' });
    await expectService();
  });

  it('in the middle of a message is an error, between two it is none', async () => {
    await start();
    const polite = await enter(path);
    polite.socket.end();
    await closed();
    expect(errors).toEqual([]);
    const rude = await enter(path);
    rude.send('25609513 0000');
    rude.socket.end();
    await closed();
    expect(errors).toMatchObject([{ code: 'NBD_CONNECTION_LOST', message: /after 6 of 28 bytes/ }]);
  });

  it('in the middle of a write leaves nothing behind', async () => {
    await start();
    const client = await enter(path);
    client.send(request('01', 0, MIB), '00'.repeat(1000));
    client.socket.end();
    await closed();
    await expectService();
  });
});

describe('crowding', () => {
  it('beyond the limit of connections is turned away', async () => {
    await start({ maxConnections: 2 });
    using first = await enter(path);
    using second = await enter(path);
    using third = await RawClient.connect(path);
    expect(await third.rest()).toBe('');
    first.send(request('02', 0, 0));
    await first.rest();
    await waitFor(() => server.connections === 1, 'a free place');
    await expectService();
    second.send(request('00', 0, 1));
    await second.take(17);
  });
});

describe('close', () => {
  it('drops clients, waits for sources, and is safe twice', async () => {
    let finished = false;
    await start(
      {},
      {
        beforeRead: async () => {
          await sleep(100);
          finished = true;
        },
      },
    );
    using working = await enter(path);
    using idle = await enter(path);
    using greeting = await RawClient.connect(path);
    working.send(request('00', 0, 1));
    await waitFor(() => source.reading === 1, 'a read');
    await Promise.all([server.close(), server.close()]);
    expect(finished).toBe(true);
    expect(server.connections).toBe(0);
    await Promise.all([working.rest(), idle.rest(), greeting.rest()]);
    await expect(RawClient.connect(path)).rejects.toThrow('ENOENT');
    expect(errors.map(error => error.message)).toEqual([]);
  });
});
