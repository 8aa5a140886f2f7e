/**
 * 64-bit NBD with real peers: QEMU's server and QEMU's client negotiate extended headers since 8.2.
 * Every disk is larger than 4 GiB, so that a length cut to 32 bits would show.
 */
import { writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { readChangeMap } from '#nbdelta/changes/change-map.js';
import { ExtentKind, type ExtentList } from '#nbdelta/extents/extent-list.js';
import { backup, restore } from '#nbdelta/index.js';
import { connectNbd } from '#nbdelta/nbd/client/client.js';
import { Connection } from '#nbdelta/nbd/client/connection.js';
import { openSession } from '#nbdelta/nbd/client/session.js';
import type { StatusRun } from '#nbdelta/nbd/client/status-run.js';
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_CACHE,
  NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE_ZEROES,
  NBD_EINVAL,
  NBD_EIO,
  NBD_ENOSPC,
  NBD_STATE_HOLE,
  NBD_STATE_ZERO,
} from '#nbdelta/nbd/protocol/constants.js';
import { parseNbdUri } from '#nbdelta/nbd/protocol/uri.js';
import { type NbdServer, startNbdServer } from '#nbdelta/nbd/server/nbd-server.js';
import { TrackedDisk } from '#nbdelta/nbd/server/tracked-disk.js';
import { describeWithExtendedPeer, type ExtendedPeer } from '../support/extended-peer.js';
import type { NbdServerHandle } from '../support/nbd-server-handle.js';
import { run, runOk } from '../support/processes.js';
import { type QemuNbdOptions, startQemuNbd } from '../support/qemu-nbd.js';
import { type TempFolder, tempFolder } from '../support/temp-folder.js';

const KIB64 = 65_536;
const MIB = 2 ** 20;
const GIB = 2 ** 30;
const SIZE = 6 * GIB;
const ZERO = NBD_STATE_HOLE | NBD_STATE_ZERO;
const CONTEXTS = ['base:allocation', 'qemu:allocation-depth', 'qemu:dirty-bitmap:b0'];

/** What QEMU's NBD code says, and when it finds a request or a reply that breaks the specification's rules. */
const TRACE = ['--trace', 'nbd_*'];

/** Of a request that is not extended, as the trace has it. */
const COMPACT_MAGIC = 'magic = 0x25609513';

async function qemuIo(peer: ExtendedPeer, image: string, commands: readonly string[]): Promise<void> {
  const options = commands.flatMap(command => ['-c', command]);
  const output = await runOk(peer.qemuIo, ['-f', 'qcow2', ...options, image]);
  if (/failed|error/i.test(output)) throw new Error(`qemu-io ${image}: ${output}`);
}

/** An overlay on a base: data below 4 GiB and above it, in both layers, and one write after bitmap `b0`. */
async function makeLayers(peer: ExtendedPeer, folder: TempFolder): Promise<string> {
  const [base, top] = [folder.file('base.qcow2'), folder.file('top.qcow2')];
  await runOk(peer.qemuImg, ['create', '-q', '-f', 'qcow2', base, `${SIZE}`]);
  await qemuIo(peer, base, ['write -P 0x11 1M 1M', 'write -P 0x22 5G 128k']);
  await runOk(peer.qemuImg, ['create', '-q', '-f', 'qcow2', '-b', base, '-F', 'qcow2', top]);
  await qemuIo(peer, top, ['write -P 0x33 3M 64k']);
  await runOk(peer.qemuImg, ['bitmap', '--add', top, 'b0']);
  await qemuIo(peer, top, ['write -P 0x44 5500M 64k']);
  return top;
}

function serve(peer: ExtendedPeer, image: string, options: Partial<QemuNbdOptions> = {}) {
  return startQemuNbd({
    ...{ image, format: 'qcow2', exportName: 'vda', program: peer.qemuNbd, extra: TRACE },
    ...options,
  });
}

/** One connection that sends requests as they are, where a client would split them. */
async function openConnection(uri: string): Promise<Connection> {
  const parsed = parseNbdUri(uri);
  const plan = {
    ...{ exportName: parsed.exportName, contexts: ['base:allocation'] },
    ...{ extendedHeaders: true, structuredReplies: true },
  };
  return new Connection(await openSession(parsed, plan, { handshakeTimeoutMs: 10_000 }), 20_000);
}

/** [length, status] of each extent. */
function extents(run: StatusRun | undefined): readonly (readonly number[])[] {
  return [...(run?.lengths ?? [])].map((length, index) => [length, run?.statuses[index] ?? -1]);
}

/** [offset, length] of the extents of a kind. */
function ranges(map: ExtentList, kind: ExtentKind): readonly (readonly number[])[] {
  return [...map].filter(extent => extent.kind === kind).map(({ offset, length }) => [offset, length]);
}

/** How often QEMU's trace has an event, and a text in it. */
function traced(server: NbdServerHandle, text: string): number {
  return server.process.stderr.split('\n').filter(line => line.includes(text)).length;
}

const WRITTEN = [
  [MIB, MIB],
  [3 * MIB, KIB64],
  [5 * GIB, 2 * KIB64],
  [5500 * MIB, KIB64],
];

describeWithExtendedPeer('our client reads an extended server', peer => {
  let folder: TempFolder;
  let server: NbdServerHandle;

  beforeAll(async () => {
    folder = await tempFolder();
    const image = await makeLayers(peer, folder);
    server = await serve(peer, image, { bitmaps: ['b0'], allocationDepth: true });
  });
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
    await folder[Symbol.asyncDispose]();
  });

  it('negotiates extended headers and all contexts', async () => {
    await using client = await connectNbd(server.uri, { contexts: CONTEXTS });
    expect(client.info).toMatchObject({ replyMode: 'extended', size: SIZE, blockSizeAdvertised: true });
    expect(client.contexts).toEqual(CONTEXTS);
    expect(client.readOnly).toBe(true);
  });

  it('gets the status of the whole disk with one request, extents over 4 GiB in one piece', async () => {
    await using client = await connectNbd(server.uri, { contexts: CONTEXTS });
    const runs = await client.blockStatus(0, SIZE);
    const gap = 5 * GIB - 3 * MIB - KIB64;
    const [far, rest] = [5500 * MIB - 5 * GIB - 2 * KIB64, SIZE - 5500 * MIB - KIB64];
    const layout = (none: number, lower: number, upper: number) => [
      ...[
        [MIB, none],
        [MIB, lower],
        [MIB, none],
        [KIB64, upper],
        [gap, none],
      ],
      ...[
        [2 * KIB64, lower],
        [far, none],
        [KIB64, upper],
        [rest, none],
      ],
    ];
    expect(gap).toBeGreaterThan(2 ** 32);
    expect(extents(runs.get('base:allocation'))).toEqual(layout(ZERO, 0, 0));
    expect(extents(runs.get('qemu:allocation-depth'))).toEqual(layout(0, 2, 1));
    expect(extents(runs.get('qemu:dirty-bitmap:b0'))).toEqual([
      [5500 * MIB, 0],
      [KIB64, 1],
      [rest, 0],
    ]);
  });

  it('gets one extent when it asks for one', async () => {
    await using client = await connectNbd(server.uri, { contexts: CONTEXTS });
    const runs = await client.blockStatus(3 * MIB + KIB64, SIZE - 3 * MIB - KIB64, NBD_CMD_FLAG_REQ_ONE);
    expect(extents(runs.get('base:allocation'))).toEqual([[5 * GIB - 3 * MIB - KIB64, ZERO]]);
    expect(extents(runs.get('qemu:dirty-bitmap:b0'))).toEqual([[5500 * MIB - 3 * MIB - KIB64, 0]]);
  });

  it.each([true, false])('has the same change maps with extended headers: %s', async extendedHeaders => {
    await using client = await connectNbd(server.uri, { contexts: CONTEXTS, extendedHeaders });
    expect(client.info.replyMode).toBe(extendedHeaders ? 'extended' : 'structured');
    const full = await readChangeMap(client);
    expect(ranges(full, ExtentKind.data)).toEqual(WRITTEN);
    expect(full.total(ExtentKind.zero)).toBe(SIZE - full.total(ExtentKind.data));
    expect([...(await readChangeMap(client, { bitmap: 'b0' }))]).toEqual([
      { offset: 5500 * MIB, length: KIB64, kind: ExtentKind.data },
    ]);
  });

  it('reads data and holes below 4 GiB, above it, and across', async () => {
    await using client = await connectNbd(server.uri);
    const border = await client.read(5 * GIB - 8, 16);
    expect(Buffer.from(border).toString('hex')).toBe('00'.repeat(8) + '22'.repeat(8));
    const low = await client.read(MIB - 1, 2 * MIB + 2 + KIB64);
    const expected = Buffer.alloc(2 * MIB + 2 + KIB64);
    expected.fill(0x11, 1, MIB + 1).fill(0x33, 2 * MIB + 1, 2 * MIB + 1 + KIB64);
    expect(expected.equals(low)).toBe(true);
    expect(Buffer.alloc(3 * MIB).equals(await client.read(4 * GIB - MIB, 3 * MIB))).toBe(true);
  });

  it('reads over several connections at once', async () => {
    await using client = await connectNbd(server.uri, { connections: 4 });
    const read = async (index: number) => {
      const at = 5 * GIB + index * 512;
      const inside = Math.max(0, Math.min(4096, 5 * GIB + 2 * KIB64 - at));
      const expected = Buffer.alloc(4096).fill(0x22, 0, inside);
      return expected.equals(await client.read(at, 4096));
    };
    for (let round = 0; round < 10 && client.connections < 4; round++) {
      expect(await Promise.all(Array.from({ length: 270 }, (_, index) => read(index)))).not.toContain(false);
    }
    expect(client.connections).toBe(4);
  });

  it('fails the request that is wrong, and only that one', async () => {
    const connection = await openConnection(server.uri);
    const wrong = [
      { type: NBD_CMD_READ, offset: SIZE, length: 512, target: Buffer.alloc(512) },
      { type: NBD_CMD_READ, offset: 0, length: 5 * GIB, target: Buffer.alloc(0) },
      { type: NBD_CMD_CACHE, offset: 0, length: 5 * GIB },
      { type: NBD_CMD_BLOCK_STATUS, offset: 5 * GIB, length: 5 * GIB },
      { type: 77, offset: 0, length: 512 },
    ];
    const target = Buffer.alloc(4);
    const right = connection.run({ type: NBD_CMD_READ, offset: 5500 * MIB, length: 4, target });
    for (const request of wrong) {
      await expect(connection.run(request)).rejects.toMatchObject({
        ...{ code: 'NBD_COMMAND_FAILED', errno: NBD_EINVAL },
        message: expect.stringContaining(`${request.offset}+${request.length}`),
      });
    }
    await right;
    expect(target.toString('hex')).toBe('44444444');
    expect(connection.alive).toBe(true);
    await connection.close();
  });

  it('says nothing that QEMU finds against the rules, and leaves politely', async context => {
    await using own = await serve(peer, folder.file('top.qcow2'), { bitmaps: ['b0'] });
    const client = await connectNbd(own.uri, { contexts: CONTEXTS, connections: 3 });
    while (client.connections < 3) await client.read(5 * GIB, 4096);
    await client.close();
    context.skip(traced(own, 'nbd_receive_request') === 0, 'this QEMU was built without tracing');
    await expect.poll(() => traced(own, '(disconnect)')).toBe(3);
    expect(traced(own, 'Checking option 11 (extended headers)')).toBe(3);
    expect(traced(own, COMPACT_MAGIC) + traced(own, 'compliance')).toBe(0);
    expect(traced(server, 'compliance')).toBe(0);
  });
});

describeWithExtendedPeer('our client writes to an extended server', peer => {
  let folder: TempFolder;
  let image: string;

  beforeAll(async () => {
    folder = await tempFolder();
    image = folder.file('disk.qcow2');
  });
  afterAll(async () => {
    await folder[Symbol.asyncDispose]();
  });

  async function serveNew(): Promise<NbdServerHandle> {
    await runOk(peer.qemuImg, ['create', '-q', '-f', 'qcow2', image, `${SIZE}`]);
    return serve(peer, image, { readOnly: false, extra: [...TRACE, '--discard=unmap'] });
  }

  it('writes, zeroes and trims more than 4 GiB, and flushes', async () => {
    {
      await using server = await serveNew();
      await using client = await connectNbd(server.uri);
      expect(client.info.replyMode).toBe('extended');
      expect(extents((await client.blockStatus(0, SIZE)).get('base:allocation'))).toEqual([[SIZE, ZERO]]);
      for (const at of [0, MIB, 4 * GIB, 5 * GIB]) await client.write(at, Buffer.alloc(2 * KIB64, 0x77));
      await client.write(SIZE - KIB64, Buffer.alloc(KIB64, 0x78), { fua: true });
      await client.writeZeroes(KIB64, 5 * GIB, { noHole: false });
      await client.trim(5 * GIB + KIB64, KIB64);
      await client.flush();
      expect(ranges(await readChangeMap(client), ExtentKind.data)).toEqual([
        [0, KIB64],
        [SIZE - KIB64, KIB64],
      ]);
      expect(traced(server, 'compliance')).toBe(0);
    }
    await qemuIo(peer, image, [
      ...['read -P 0x77 0 64k', 'read -P 0 64k 1M', 'read -P 0 4G 128k', 'read -P 0 5G 128k'],
      `read -P 0x78 ${SIZE - KIB64} 64k`,
    ]);
  });

  it('zeroes and trims more than 4 GiB with one request', async () => {
    {
      await using server = await serveNew();
      await using client = await connectNbd(server.uri);
      for (const at of [0, 4 * GIB, SIZE - KIB64]) await client.write(at, Buffer.alloc(KIB64, 0x79));
      const connection = await openConnection(server.uri);
      await connection.run({ type: NBD_CMD_WRITE_ZEROES, offset: KIB64, length: SIZE - 2 * KIB64 });
      const left = await readChangeMap(client);
      expect(ranges(left, ExtentKind.data)).toEqual([
        [0, KIB64],
        [SIZE - KIB64, KIB64],
      ]);
      await connection.run({ type: NBD_CMD_TRIM, offset: 0, length: SIZE - KIB64 });
      await client.flush();
      await connection.close();
    }
    await qemuIo(peer, image, ['read -P 0 0 64k', 'read -P 0 4G 64k', `read -P 0x79 ${SIZE - KIB64} 64k`]);
  });

  it('fails what the storage fails, above 4 GiB too', async () => {
    const raw = folder.file('disk.raw');
    await runOk(peer.qemuImg, ['create', '-q', '-f', 'raw', raw, `${SIZE}`]);
    await runOk(peer.qemuIo, ['-f', 'raw', '-c', 'write -P 0x55 5G 1M', raw]);
    const fault = (iotype: string, errno: number, offset: number) =>
      `[inject-error]\nevent = "none"\niotype = "${iotype}"\nerrno = "${errno}"\nsector = "${offset / 512}"\n`;
    const faults = folder.file('faults');
    await writeFile(faults, fault('read', NBD_EIO, 5 * GIB + KIB64) + fault('write', NBD_ENOSPC, 4 * GIB));
    await using server = await serve(peer, `blkdebug:${faults}:${raw}`, { format: 'raw', readOnly: false });
    await using client = await connectNbd(server.uri);
    const [good, bad] = await Promise.allSettled([
      client.read(5 * GIB, 512),
      client.read(5 * GIB + KIB64 - 4096, 8192),
    ]);
    expect(good).toMatchObject({ status: 'fulfilled' });
    expect(bad).toMatchObject({ reason: { code: 'NBD_COMMAND_FAILED', errno: NBD_EIO } });
    await expect(client.write(4 * GIB, Buffer.alloc(4096))).rejects.toMatchObject({ errno: NBD_ENOSPC });
    await client.write(4 * GIB + 4096, Buffer.alloc(4096, 1));
    expect((await client.read(4 * GIB + 4096, 1))[0]).toBe(1);
  });
});

describeWithExtendedPeer('a backup over extended headers', peer => {
  it('restores a full and an incremental, to a file and to an export', async () => {
    await using folder = await tempFolder();
    const [image, full] = [folder.file('vda.qcow2'), folder.file('full.qcow2')];
    await runOk(peer.qemuImg, ['create', '-q', '-f', 'qcow2', image, `${SIZE}`]);
    await qemuIo(peer, image, ['write -P 0x11 1M 3M', 'write -P 0x22 5G 2M', 'write -P 0x33 5500M 64k']);
    const options = { repository: folder.file('repository'), machine: 'guest', threads: 1 };
    const take = async (level: 'full' | 'incremental') => {
      await using server = await serve(peer, image, level === 'full' ? {} : { bitmaps: ['b0'] });
      const disks = [{ name: 'vda', uri: server.uri, bitmap: 'b0' }];
      const since = level === 'full' ? {} : { since: 'latest' };
      const { point } = await backup({ ...options, ...since, disks, level });
      expect(traced(server, COMPACT_MAGIC) + traced(server, 'compliance')).toBe(0);
      return point;
    };
    const first = await take('full');
    await runOk(peer.qemuImg, ['convert', '-O', 'qcow2', image, full]);
    await runOk(peer.qemuImg, ['bitmap', '--add', image, 'b0']);
    await qemuIo(peer, image, [
      ...['write -P 0x44 4500M 1M', 'write -z 5G 1M', `write -P 0x55 ${SIZE - 512} 512`],
    ]);
    const second = await take('incremental');
    expect(second.disks[0]).toMatchObject({ level: 'incremental', status: 'stored', size: SIZE });
    expect(second.disks[0]).toMatchObject({ readBytes: MIB + KIB64 });

    const same = async (a: string, b: string) => {
      expect(await runOk(peer.qemuImg, ['compare', a, b])).toContain('Images are identical.');
    };
    for (const [point, original] of [
      [first, full],
      [second, image],
    ] as const) {
      const to = folder.file(`${point.id}.qcow2`);
      const target = folder.file(`${point.id}-export.qcow2`);
      const from = { repository: options.repository, point: `guest@${point.id}`, disk: 'vda', threads: 1 };
      await restore({ ...from, to });
      await same(to, original);
      // What an export held before must be gone, also far behind 4 GiB.
      await runOk(peer.qemuImg, ['create', '-q', '-f', 'qcow2', target, `${SIZE}`]);
      await qemuIo(peer, target, ['write -P 0x99 0 2M', 'write -P 0x99 4090M 16M', 'write -P 0x99 5900M 1M']);
      {
        await using server = await serve(peer, target, { readOnly: false });
        await restore({ ...from, to: server.uri });
        expect(traced(server, 'compliance')).toBe(0);
      }
      await same(target, original);
    }
  });
});

describeWithExtendedPeer('our server, read by an extended client', peer => {
  let folder: TempFolder;
  let server: NbdServer;
  let compact: NbdServer;
  const told: string[] = [];

  beforeAll(async () => {
    folder = await tempFolder();
    const disk = new TrackedDisk(SIZE);
    disk.write(MIB, Buffer.alloc(MIB, 0x11));
    disk.write(5 * GIB, Buffer.alloc(2 * KIB64, 0x22));
    disk.addBitmap('b0');
    disk.write(5500 * MIB, Buffer.alloc(KIB64, 0x44));
    disk.zero(5 * GIB, KIB64);
    const start = (extendedHeaders: boolean) =>
      startNbdServer({
        exports: [{ name: 'vda', source: disk.snapshot() }],
        listen: { kind: 'unix', path: folder.file(extendedHeaders ? 'extended' : 'compact') },
        extendedHeaders,
        onError: error => told.push(error.message),
      });
    server = await start(true);
    compact = await start(false);
  });
  afterAll(async () => {
    await server.close();
    await compact.close();
    await folder[Symbol.asyncDispose]();
    expect(told).toEqual([]);
  });

  function imageOf({ address }: NbdServer, options = ''): string[] {
    const path = address.kind === 'unix' ? address.path : '';
    return ['--image-opts', `driver=nbd,server.type=unix,server.path=${path},export=vda${options}`];
  }

  async function map(of: NbdServer, options = '') {
    const text = await runOk(peer.qemuImg, ['map', '--output=json', ...imageOf(of, options)]);
    return JSON.parse(text) as { start: number; length: number; zero: boolean; data: boolean }[];
  }

  it('is listed with 64-bit transactions', async () => {
    const path = server.address.kind === 'unix' ? server.address.path : '';
    const list = await runOk(peer.qemuNbd, ['--list', '-k', path]);
    expect(list).toContain('transaction size: 64-bit');
    expect(list).toContain(`size:  ${SIZE}`);
  });

  it('gives extents over 4 GiB in one piece, and the same map as without extended headers', async () => {
    const allocation = await map(server);
    expect(allocation.map(({ start, length, zero }) => [start, length, zero])).toEqual([
      [0, MIB, true],
      [MIB, MIB, false],
      [2 * MIB, 5 * GIB - 2 * MIB + KIB64, true],
      [5 * GIB + KIB64, KIB64, false],
      [5 * GIB + 2 * KIB64, 5500 * MIB - 5 * GIB - 2 * KIB64, true],
      [5500 * MIB, KIB64, false],
      [5500 * MIB + KIB64, SIZE - 5500 * MIB - KIB64, true],
    ]);
    const bitmap = ',x-dirty-bitmap=qemu:dirty-bitmap:b0';
    const dirty = await map(server, bitmap);
    expect(dirty.filter(entry => !entry.data).map(({ start, length }) => [start, length])).toEqual([
      [5 * GIB, KIB64],
      [5500 * MIB, KIB64],
    ]);
    expect(await map(compact)).toEqual(allocation);
    expect(await map(compact, bitmap)).toEqual(dirty);
  });

  it('is converted and compared', async () => {
    const target = folder.file('converted.qcow2');
    await runOk(peer.qemuImg, ['convert', ...imageOf(server), '-O', 'qcow2', target]);
    const copies = ['compare', '-f', 'qcow2', '-F', 'raw', target];
    for (const one of [server, compact]) {
      expect(await runOk(peer.qemuImg, [...copies, one.uri('vda')])).toContain('Images are identical.');
    }
  });

  it('is read at any place', async () => {
    const reads = [
      ...['read -P 0x11 1M 1M', 'read -P 0 5G 64k', `read -P 0x22 ${5 * GIB + KIB64} 64k`],
      ...['read -P 0x44 5500M 64k', 'read -P 0 3G 64M', `read -P 0 ${SIZE - 513} 513`],
    ];
    const commands = reads.flatMap(read => ['-c', read]);
    const output = await runOk(peer.qemuIo, ['-r', '-f', 'raw', ...commands, server.uri('vda')]);
    expect(output).not.toMatch(/failed|error/i);
    expect(output.match(/^read \d+\/\d+ bytes/gm)).toHaveLength(reads.length);
  });

  it('answers in 64-bit chunks that QEMU has nothing to say against', async context => {
    const { code, stderr } = await run(peer.qemuImg, [...TRACE, 'map', ...imageOf(server)]);
    expect(code).toBe(0);
    context.skip(!stderr.includes('nbd_send_request'), 'this QEMU was built without tracing');
    expect(stderr).toContain('Received option reply 11 (extended headers), type 1 (ack)');
    expect(stderr).toContain(`.from = 0, .len = ${SIZE}`);
    expect(stderr).toContain('block status (64-bit)');
    expect(stderr).not.toContain('compliance');
  });
});
