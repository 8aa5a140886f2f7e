/** The client with the real servers: what it reads, writes and is told, compared with the file behind the export. */

import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readChangeMap } from '#nbdelta/changes/change-map.js';
import { NbdeltaError } from '#nbdelta/errors.js';
import { connectNbd, type NbdClient } from '#nbdelta/nbd/client/client.js';
import type { ClientOptions } from '#nbdelta/nbd/client/client-options.js';
import { listServer } from '#nbdelta/nbd/client/session.js';
import { parseNbdUri } from '#nbdelta/nbd/protocol/uri.js';
import { startNbdServer } from '../support/nbd-server.js';
import { nbdinfoMap } from '../support/nbd-tools.js';
import { type NbdkitOptions, startNbdkit } from '../support/nbdkit.js';
import { describeWith } from '../support/peers.js';
import { freePort, startProcess, waitFor } from '../support/processes.js';
import { beginPullBackup } from '../support/pull-backup.js';
import { addBitmap, createQcow2, qemuIoOnImage, readImage } from '../support/qcow2-image.js';
import { startQemuNbd } from '../support/qemu-nbd.js';
import { startQemuStorageDaemon } from '../support/qemu-storage-daemon.js';
import { startQemuSystem } from '../support/qemu-system.js';
import { SeededRandom } from '../support/random.js';
import { type TempFolder, tempFolder } from '../support/temp-folder.js';

const MIB = 2 ** 20;
const OPTIONS: ClientOptions = { handshakeTimeoutMs: 5_000, timeoutMs: 10_000, retries: 0 };
const BITMAP = 'qemu:dirty-bitmap:cp0';

let folder: TempFolder;
beforeAll(async () => {
  folder = await tempFolder();
});
afterAll(() => folder[Symbol.asyncDispose]());

/** Connects, uses and closes: also when `use` fails. */
async function withClient<Result>(
  uri: string,
  use: (client: NbdClient) => Promise<Result> | Result,
  options: ClientOptions = {},
): Promise<Result> {
  const client = await connectNbd(uri, { ...OPTIONS, ...options });
  try {
    return await use(client);
  } finally {
    await client.close();
  }
}

async function failure(promise: Promise<unknown>): Promise<NbdeltaError> {
  const error = await promise.catch((cause: unknown) => cause);
  if (error instanceof NbdeltaError) return error;
  throw new Error('an NbdeltaError was expected', { cause: error });
}

const readAll = async (client: NbdClient) => Buffer.from(await client.read(0, client.size));

/** Reads the whole export in one go and in odd pieces. */
async function expectContent(client: NbdClient, content: Buffer): Promise<void> {
  expect(client.size).toBe(content.length);
  expect((await readAll(client)).equals(content)).toBe(true);
  const random = new SeededRandom(content.length);
  const pieces = Array.from({ length: 20 }, async () => {
    const offset = random.below(content.length);
    const length = 1 + random.below(content.length - offset);
    const bytes = Buffer.from(await client.read(offset, length));
    expect(bytes.equals(content.subarray(offset, offset + length))).toBe(true);
  });
  await Promise.all(pieces);
}

const ODD_SIZES = [1, 511, 65_537, MIB + 1];

async function rawFile(name: string, content: Buffer): Promise<string> {
  const path = folder.file(name);
  await writeFile(path, content);
  return path;
}

/** 16 MiB: 4 MiB of 0x11, bitmap `cp0`, then writes, zeroes and a discard behind it. */
async function makeImage(name: string): Promise<string> {
  const image = folder.file(name);
  await createQcow2(image, 16 * MIB);
  await qemuIoOnImage(image, ['write -P 0x11 0 4M']);
  await addBitmap(image, 'cp0');
  await qemuIoOnImage(image, [
    'write -P 0x22 1M 64k',
    'write -z 2M 128k',
    'discard 3M 64k',
    'write -P 0x33 9M 3',
  ]);
  return image;
}

describeWith(['qemu-nbd', 'qemu-img', 'qemu-io', 'nbdinfo'], 'client and qemu-nbd', () => {
  it.each(ODD_SIZES)('a raw file of %d bytes', async size => {
    const content = new SeededRandom(size).bytes(size);
    const image = await rawFile(`odd-${size}.raw`, content);
    await using server = await startQemuNbd({ image, format: 'raw' });
    // QEMU rounds a raw file up to whole sectors; what is behind its end reads as zeroes.
    const rounded = Buffer.alloc(Math.ceil(size / 512) * 512);
    content.copy(rounded);
    await withClient(server.uri, client => expectContent(client, rounded));
  });

  it('a qcow2 with a bitmap and allocation depth: the same map as libnbd', async () => {
    const image = await makeImage('bitmap.qcow2');
    const content = await readImage(image);
    await using server = await startQemuNbd({
      image,
      format: 'qcow2',
      bitmaps: ['cp0'],
      allocationDepth: true,
      exportName: 'vda',
    });
    const contexts = ['base:allocation', BITMAP, 'qemu:allocation-depth'];
    await withClient(
      server.uri,
      async client => {
        expect([...client.contexts].sort()).toEqual([...contexts].sort());
        expect(client.readOnly).toBe(true);
        expect(client.info).toMatchObject({
          exportName: 'vda',
          replyMode: 'structured',
          blockSizeAdvertised: true,
        });
        await expectContent(client, content);
        for (const context of contexts) {
          const expected = (await nbdinfoMap(server.uri, context)).map(({ offset, length, type }) => [
            offset,
            length,
            type,
          ]);
          expect(await wholeStatus(client, context)).toEqual(joined(expected as [number, number, number][]));
        }
        const map = await readChangeMap(client, { bitmap: 'cp0' });
        expect([...map].map(({ offset, length, kind }) => [offset / 65_536, length / 65_536, kind])).toEqual([
          [16, 1, 0],
          [32, 2, 1],
          [48, 1, 1],
          [144, 1, 0],
        ]);
      },
      { contexts },
    );
  });

  it('an absent bitmap is not granted, and no incremental comes of it', async () => {
    const image = await makeImage('absent.qcow2');
    await using server = await startQemuNbd({ image, format: 'qcow2', bitmaps: ['cp0'] });
    await withClient(
      server.uri,
      async client => {
        expect(client.contexts).toEqual(['base:allocation']);
        const error = await failure(readChangeMap(client, { bitmap: 'cp9' }));
        expect(error).toMatchObject({
          code: 'NBD_CONTEXT_MISSING',
          message: expect.stringContaining('"cp9"'),
        });
      },
      { contexts: ['base:allocation', 'qemu:dirty-bitmap:cp9'] },
    );
  });

  it('an unknown export is named, and so is the server', async () => {
    const image = await rawFile('unknown.raw', Buffer.alloc(512));
    await using server = await startQemuNbd({ image, format: 'raw', exportName: 'vda' });
    const error = await failure(connectNbd(server.uriOf('vdz'), OPTIONS));
    expect(error).toMatchObject({ code: 'NBD_EXPORT_UNKNOWN', message: expect.stringContaining('"vdz"') });
    expect(error.message).toContain('nbd.sock');
  });

  it('lists exports and contexts', async () => {
    const image = await makeImage('list.qcow2');
    await using server = await startQemuNbd({ image, format: 'qcow2', bitmaps: ['cp0'], exportName: 'vda' });
    const listing = await listServer(parseNbdUri(server.uri), { handshakeTimeoutMs: 5_000 });
    expect(listing.exports).toEqual([{ name: 'vda', description: '' }]);
    expect([...listing.contexts].sort()).toEqual(['base:allocation', BITMAP]);
  });

  it('writes, zeroes, trims and flushes what qemu-io then reads', async () => {
    const image = folder.file('written.qcow2');
    await createQcow2(image, 8 * MIB);
    await qemuIoOnImage(image, ['write -P 0x55 0 8M']);
    const data = new SeededRandom(3).bytes(100_001);
    {
      await using server = await startQemuNbd({
        image,
        format: 'qcow2',
        readOnly: false,
        extra: ['--discard=unmap'],
      });
      await withClient(
        server.uri,
        async client => {
          await client.write(12_345, data);
          await client.write(4 * MIB, data.subarray(0, 7), { fua: true });
          await client.writeZeroes(MIB, MIB);
          await client.writeZeroes(3 * MIB, 65_536, { noHole: true });
          await client.trim(5 * MIB, MIB);
          await client.cache(0, MIB);
          await client.flush();
          expect(Buffer.from(await client.read(12_345, data.length)).equals(data)).toBe(true);
        },
        { requestBytes: 65_536 },
      );
    }
    const expected = Buffer.alloc(8 * MIB, 0x55);
    data.copy(expected, 12_345);
    data.copy(expected, 4 * MIB, 0, 7);
    expected
      .fill(0, MIB, 2 * MIB)
      .fill(0, 3 * MIB, 3 * MIB + 65_536)
      .fill(0, 5 * MIB, 6 * MIB);
    expect((await readImage(image)).equals(expected)).toBe(true);
  });

  it('a read-only export is not written to: nothing is sent', async () => {
    const image = await rawFile('read-only.raw', Buffer.alloc(4096));
    await using server = await startQemuNbd({ image, format: 'raw' });
    await withClient(server.uri, async client => {
      for (const attempt of [client.write(0, Buffer.alloc(1)), client.trim(0, 1), client.writeZeroes(0, 1)]) {
        expect(await failure(attempt)).toMatchObject({
          code: 'USAGE',
          message: expect.stringContaining('read-only'),
        });
      }
      for (const [offset, length] of [
        [0, 4097],
        [4096, 1],
        [-1, 1],
        [0, -1],
        [0.5, 1],
        [0, 2 ** 60],
      ] as const) {
        expect(await failure(client.read(offset, length))).toMatchObject({ code: 'USAGE' });
      }
      expect(await client.read(4096, 0)).toHaveLength(0);
    });
  });

  it('several connections when more than one is safe; with -e 2 those that there are', async () => {
    const content = new SeededRandom(8).bytes(4 * MIB);
    const image = await rawFile('multi.raw', content);
    for (const [shared, expected] of [
      [16, 8],
      [2, 2],
      [1, 1],
    ] as const) {
      await using server = await startQemuNbd({ image, format: 'raw', shared });
      await withClient(
        server.uri,
        async client => {
          await expectContent(client, content);
          // With -e 1, QEMU does not say that more are safe.
          expect(client.canMultiConn).toBe(shared > 1);
          await waitFor(() => client.connections === expected, `${expected} connections`);
          await expectContent(client, content);
          expect(client.reconnects).toBe(0);
        },
        { connections: 8, requestBytes: 65_536, handshakeTimeoutMs: 1_000 },
      );
    }
  });

  it('over TCP, IPv4 and IPv6', async () => {
    const content = new SeededRandom(9).bytes(3 * 512);
    const image = await rawFile('tcp.raw', content);
    await using server = await startQemuNbd({ image, format: 'raw', transport: 'tcp' });
    await withClient(server.uri, client => expectContent(client, content));
    const port = await freePort();
    const arguments_ = ['--persistent', '-e', '4', '-r', '-f', 'raw', '-b', '::1', '-p', String(port), image];
    const uri = `nbd://[::1]:${port}/`;
    const ready = () =>
      connectNbd(uri, { ...OPTIONS, connections: 1 }).then(
        one => one.close().then(() => true),
        () => false,
      );
    await using process = await startProcess('qemu-nbd', arguments_, { ready });
    expect(process.isRunning).toBe(true);
    await withClient(uri, client => expectContent(client, content));
  });

  it('a server that is killed: the error says what was being read; one that comes back is read on', async () => {
    const content = new SeededRandom(10).bytes(MIB);
    const image = await rawFile('killed.raw', content);
    const server = await startQemuNbd({ image, format: 'raw' });
    const client = await connectNbd(server.uri, OPTIONS);
    await client.read(0, 512);
    await server.process.kill();
    const error = await failure(client.read(512, 512));
    expect(['NBD_CONNECTION_LOST', 'NBD_CONNECT_FAILED']).toContain(error.code);
    await client.close();
    await server[Symbol.asyncDispose]();
  });
});

describeWith(['qemu-storage-daemon', 'qemu-img', 'qemu-io'], 'client and qemu-storage-daemon', () => {
  it('reads, maps and writes', async () => {
    const image = await makeImage('qsd.qcow2');
    const content = await readImage(image);
    await using server = await startQemuStorageDaemon({ image, writable: true });
    await withClient(server.uri, async client => {
      await expectContent(client, content);
      const map = await readChangeMap(client);
      expect([...map].reduce((sum, { length }) => sum + length, 0)).toBe(content.length);
      await client.write(5 * MIB + 1, Buffer.from('written'));
      await client.flush();
      expect(Buffer.from(await client.read(5 * MIB, 9)).toString()).toBe('\0written\0');
    });
  });

  it('nbd-server-stop returns although a client opened many connections and closed them at once', async () => {
    const image = await makeImage('stop.qcow2');
    await using server = await startQemuStorageDaemon({ image });
    for (let round = 0; round < 10; round++) {
      const client = await connectNbd(server.uri, { ...OPTIONS, connections: 8 });
      const reading = client.read(0, MIB).catch(() => undefined);
      await client.close();
      await reading;
    }
    await server.qmp.execute('nbd-server-stop');
  });
});

describeWith(['qemu-system-x86_64', 'qemu-img', 'qemu-io'], 'client and the NBD server of QEMU', () => {
  it('pulls a full and an incremental', async () => {
    const image = folder.file('guest.qcow2');
    await createQcow2(image, 8 * MIB);
    await using machine = await startQemuSystem({ disks: [{ name: 'vda', image }] });
    await machine.qemuIo('write -P 0x11 0 1M');
    {
      await using full = await beginPullBackup(machine, { checkpoint: 'cp0' });
      await machine.qemuIo('write -P 0x99 0 64k');
      await withClient(full.uri, async client => {
        expect(client.canMultiConn).toBe(true);
        expect(
          (await readAll(client)).equals(Buffer.concat([Buffer.alloc(MIB, 0x11), Buffer.alloc(7 * MIB)])),
        ).toBe(true);
      });
    }
    await machine.qemuIo('write -z 512k 64k');
    await using increment = await beginPullBackup(machine, { checkpoint: 'cp1', since: 'cp0' });
    await withClient(
      increment.uri,
      async client => {
        const map = await readChangeMap(client, { bitmap: increment.bitmap! });
        expect([...map].map(({ offset, length, kind }) => [offset, length, kind])).toEqual([
          [0, 65_536, 0],
          [524_288, 65_536, 1],
        ]);
        expect(
          Buffer.from(await client.read(0, 65_537)).equals(
            Buffer.concat([Buffer.alloc(65_536, 0x99), Buffer.of(0x11)]),
          ),
        ).toBe(true);
      },
      { contexts: ['base:allocation', `qemu:dirty-bitmap:${increment.bitmap}`], connections: 8 },
    );
  });
});

describeWith(['nbdkit', 'nbdinfo'], 'client and nbdkit', () => {
  const serve = async (
    options: NbdkitOptions,
    use: (client: NbdClient) => Promise<void>,
    client?: ClientOptions,
  ) => {
    await using server = await startNbdkit(options);
    await withClient(server.uri, use, client);
  };

  it.each(ODD_SIZES)('a file of %d bytes, exactly', async size => {
    const content = new SeededRandom(size).bytes(size);
    const path = await rawFile(`kit-${size}.raw`, content);
    await serve({ plugin: ['file', path] }, client => expectContent(client, content));
  });

  it('data, pattern and memory', async () => {
    const data = Buffer.alloc(2 * MIB);
    data.write('hello');
    data.write('world', MIB);
    await serve({ plugin: ['data', 'data="hello" @0x100000 "world"', 'size=2M'] }, client =>
      expectContent(client, data),
    );
    const pattern = Buffer.alloc(MIB);
    for (let at = 0; at < MIB; at += 8) pattern.writeBigUInt64BE(BigInt(at), at);
    await serve({ plugin: ['pattern', 'size=1M'] }, client => expectContent(client, pattern));
    await serve({ plugin: ['memory', '1M'] }, async client => {
      await client.write(1000, Buffer.from('memory'));
      expect(Buffer.from(await client.read(999, 8)).toString()).toBe('\0memory\0');
      const map = await readChangeMap(client);
      expect(map.at(map.count - 1).kind).toBe(1);
    });
  });

  it('without structured replies there is no map: everything is read', async () => {
    await serve({ plugin: ['memory', '1M'], options: ['--no-sr'] }, async client => {
      expect(client.info.replyMode).toBe('simple');
      expect(client.contexts).toEqual([]);
      expect([...(await readChangeMap(client))]).toEqual([{ offset: 0, length: MIB, kind: 0 }]);
      await expectContent(client, Buffer.alloc(MIB));
    });
  });

  it.each([0, 1, 2, 3])('--mask-handshake=%d', async mask => {
    const content = new SeededRandom(mask).bytes(70_001);
    const path = await rawFile(`mask-${mask}.raw`, content);
    await serve({ plugin: ['file', path], options: [`--mask-handshake=${mask}`] }, client =>
      expectContent(client, content),
    );
  });

  it('oldstyle is refused and named', async () => {
    await using server = await startNbdkit({ plugin: ['memory', '1M'], options: ['-o'] });
    const error = await failure(connectNbd(server.uri, OPTIONS));
    expect(error).toMatchObject({ code: 'NBD_OLDSTYLE', message: expect.stringMatching(/oldstyle/) });
    expect(error.hint).toMatch(/newstyle/);
  });

  it('blocks of 4096 to 65536: requests are widened, cut and aligned', async () => {
    const content = new SeededRandom(4).bytes(MIB);
    const path = await rawFile('policy.raw', content);
    const limits = ['blocksize-minimum=4096', 'blocksize-preferred=4096', 'blocksize-maximum=65536'];
    const options = {
      plugin: ['file', path, 'blocksize-error-policy=error', ...limits],
      filters: ['blocksize-policy'],
    };
    await serve(options, async client => {
      expect(client.info.blockSize).toEqual({ minimum: 4096, preferred: 4096, maximum: 65_536 });
      expect(client.maxRequest).toBe(65_536);
      await expectContent(client, content);
      const map = await readChangeMap(client);
      expect(map.end).toBe(MIB);
      await client.write(8192, Buffer.alloc(200 * 1024, 7));
      expect([...(await client.read(8191, 3))]).toEqual([content[8191], 7, 7]);
      expect(await failure(client.write(1, Buffer.alloc(4096)))).toMatchObject({ code: 'USAGE' });
    });
  });

  it('a tail that no allowed request reaches is an error, not zeroes', async () => {
    const path = await rawFile('tail.raw', Buffer.alloc(10_000, 1));
    const plugin = [
      'file',
      path,
      'blocksize-error-policy=error',
      'blocksize-minimum=4096',
      'blocksize-preferred=4096',
      'blocksize-maximum=65536',
    ];
    await serve({ plugin, filters: ['blocksize-policy'] }, async client => {
      expect([...(await client.read(8190, 2))]).toEqual([1, 1]);
      const error = await failure(client.read(8192, 1808));
      expect(error).toMatchObject({ code: 'USAGE', message: expect.stringMatching(/last 1808 bytes/) });
    });
  });

  it('without extents everything is data', async () => {
    await serve({ plugin: ['memory', '1M'], filters: ['noextents'] }, async client => {
      const map = await readChangeMap(client);
      expect([...map]).toEqual([{ offset: 0, length: MIB, kind: 0 }]);
    });
  });

  it('an export by another name is unknown', async () => {
    const plugin = ['memory', '1M', 'exportname=vda', 'exportname-strict=true', 'exportname-list=explicit'];
    await using server = await startNbdkit({ plugin, filters: ['exportname'], exportName: 'vda' });
    await withClient(server.uri, client => expect(client.size).toBe(MIB));
    const error = await failure(connectNbd(server.uriOf('vdz'), OPTIONS));
    expect(error.message).toContain('"vdz"');
    const listing = await listServer(parseNbdUri(server.uri), { handshakeTimeoutMs: 5_000 });
    expect(listing.exports?.map(({ name }) => name)).toEqual(['vda']);
  });

  it('reads that fail with EIO now and then: the others are right', async () => {
    const content = new SeededRandom(6).bytes(MIB);
    const path = await rawFile('eio.raw', content);
    const options = { plugin: ['file', path, 'error-pread=EIO', 'error-pread-rate=30%'], filters: ['error'] };
    await serve(options, async client => {
      const results = await Promise.allSettled(
        Array.from({ length: 200 }, (_, index) => client.read(index * 5000, 5000)),
      );
      const failed = results.filter(result => result.status === 'rejected');
      expect(failed.length).toBeGreaterThan(10);
      expect(failed.length).toBeLessThan(190);
      expect(new Set(failed.map(({ reason }) => reason)).size).toBe(failed.length);
      results.forEach((result, index) => {
        if (result.status === 'rejected') {
          expect(result.reason).toMatchObject({
            code: 'NBD_COMMAND_FAILED',
            errno: 5,
            fields: { offset: index * 5000 },
          });
        } else {
          expect(Buffer.from(result.value).equals(content.subarray(index * 5000, index * 5000 + 5000))).toBe(
            true,
          );
        }
      });
      expect(client.reconnects).toBe(0);
    });
  });

  it('a slow server is waited for; a read longer than the limit is not', async () => {
    const options = { plugin: ['memory', '1M', 'delay-read=600ms'], filters: ['delay'] };
    await serve(options, async client => {
      expect(await client.read(0, 10)).toHaveLength(10);
    });
    await serve(
      options,
      async client => {
        expect(await failure(client.read(0, 10))).toMatchObject({ code: 'NBD_TIMEOUT' });
      },
      { timeoutMs: 150 },
    );
  });
});

describeWith(['nbd-server'], 'client and nbd-server', () => {
  it('simple replies, no contexts, several exports', async () => {
    await mkdir(folder.file('exports'));
    const contents = [new SeededRandom(1).bytes(70_000), new SeededRandom(2).bytes(4096)];
    const [first, second] = await Promise.all(
      contents.map((content, index) => rawFile(`exports/${index}`, content)),
    );
    await using server = await startNbdServer({ exports: { vda: first!, vdb: second! } });
    await withClient(server.uri, client => expectContent(client, contents[0]!));
    await withClient(server.uriOf('vdb'), async client => {
      await expectContent(client, contents[1]!);
      expect(client.contexts).toEqual([]);
    });
    const listing = await listServer(parseNbdUri(server.uri), { handshakeTimeoutMs: 5_000 });
    expect(listing.exports?.map(({ name }) => name).sort()).toEqual(['vda', 'vdb']);
    const error = await failure(connectNbd(server.uriOf('vdz'), OPTIONS));
    expect(error.message).toContain('"vdz"');
    expect((await readFile(first!)).equals(contents[0]!)).toBe(true);
  });
});

describe('nobody there', () => {
  it('a socket that does not exist', async () => {
    const error = await failure(connectNbd(`nbd+unix:///x?socket=${folder.file('nobody')}`, OPTIONS));
    expect(error).toMatchObject({ code: 'NBD_CONNECT_FAILED', retryable: true });
    expect(error.message).toMatch(/ENOENT/);
    expect(error.hint).toMatch(/backup job/);
  });

  it('a name with two addresses: both refusals are told', async () => {
    const port = await freePort();
    const error = await failure(connectNbd(`nbd://localhost:${port}/x`, OPTIONS));
    expect(error).toMatchObject({
      code: 'NBD_CONNECT_FAILED',
      message: expect.stringMatching(/ECONNREFUSED/),
    });
  });
});

/** Ranges of one context over the whole disk, one command after another: [offset, length, status]. */
async function wholeStatus(client: NbdClient, context: string): Promise<[number, number, number][]> {
  const result: [number, number, number][] = [];
  for (let at = 0; at < client.size; ) {
    const run = (await client.blockStatus(at, client.size - at)).get(context)!;
    run.lengths.forEach((length, index) => {
      result.push([at, length, run.statuses[index]!]);
      at += length;
    });
  }
  return joined(result);
}

function joined(ranges: readonly (readonly [number, number, number])[]): [number, number, number][] {
  const result: [number, number, number][] = [];
  for (const [offset, length, status] of ranges) {
    const last = result.at(-1);
    if (last?.[2] === status) last[1] += length;
    else result.push([offset, length, status]);
  }
  return result;
}
