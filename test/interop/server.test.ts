/** Our server and everybody else's clients: libnbd and QEMU must read what the source says. */
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { NbdeltaError } from '#nbdelta/errors.js';
import { type NbdServer, type NbdServerOptions, startNbdServer } from '#nbdelta/nbd/server/nbd-server.js';
import { RawFileSource } from '#nbdelta/nbd/server/raw-file-source.js';
import { TrackedDisk } from '#nbdelta/nbd/server/tracked-disk.js';
import { type Certificates, makeCertificates, makePskKeys } from '../support/certificates.js';
import { nbdcopy, nbdinfo, nbdinfoMap } from '../support/nbd-tools.js';
import { describeWith } from '../support/peers.js';
import { run, runOk } from '../support/processes.js';
import { type TempFolder, tempFolder } from '../support/temp-folder.js';

const MIB = 2 ** 20;
const KIB64 = 65_536;
/** Neither a multiple of a sector nor of a bitmap's granularity. */
const SIZE = 40 * MIB + 777;

let folder: TempFolder;
let disk: TrackedDisk;
let raw: RawFileSource;
let server: NbdServer;
/** What the disk holds. */
const content = Buffer.alloc(SIZE);
const errors: NbdeltaError[] = [];

function write(offset: number, bytes: Buffer): void {
  disk.write(offset, bytes);
  content.set(bytes, offset);
}

async function start(options: Partial<NbdServerOptions> = {}): Promise<NbdServer> {
  return startNbdServer({
    exports: [
      { name: 'vda', description: 'tracked disk', source: disk.snapshot() },
      { name: 'raw', source: raw },
    ],
    listen: { kind: 'unix', path: folder.file(`s${randomBytes(4).toString('hex')}`) },
    onError: error => errors.push(error),
    ...options,
  });
}

beforeAll(async () => {
  folder = await tempFolder();
  disk = new TrackedDisk(SIZE);
  write(3 * MIB - 100, randomBytes(5 * MIB));
  write(20 * MIB, randomBytes(10));
  disk.addBitmap('x');
  write(30 * MIB + 1, randomBytes(KIB64));
  disk.zero(4 * MIB, 2 * KIB64);
  content.fill(0, 4 * MIB, 4 * MIB + 2 * KIB64);
  write(SIZE - 1, Buffer.of(7));
  await writeFile(folder.file('disk.raw'), content);
  raw = await RawFileSource.open(folder.file('disk.raw'));
  server = await start();
});
afterAll(async () => {
  await server.close();
  await raw.close();
  await folder[Symbol.asyncDispose]();
  expect(errors.map(error => error.message)).toEqual([]);
});

/** The dirty ranges, as [offset, length]. */
const DIRTY = [
  [4 * MIB, 2 * KIB64],
  [30 * MIB, 2 * KIB64],
  [40 * MIB, 777],
];

describeWith(['nbdinfo', 'nbdcopy'], 'libnbd', () => {
  it('sees the export as it is', async () => {
    const info = await nbdinfo(server.uri('vda'));
    expect(info).toMatchObject({ protocol: 'newstyle-fixed', TLS: false, structured: true });
    expect(info.exports).toMatchObject([
      {
        'export-name': 'vda',
        description: 'tracked disk',
        'export-size': SIZE,
        is_read_only: true,
        can_multi_conn: true,
        can_df: true,
        can_cache: true,
        can_zero: false,
        can_trim: false,
        block_size_minimum: 1,
        block_size_preferred: 4096,
        block_size_maximum: 33554432,
        contexts: ['base:allocation', 'qemu:dirty-bitmap:x'],
      },
    ]);
  });

  it('lists the exports', async () => {
    const list = JSON.parse(await runOk('nbdinfo', ['--json', '--list', server.uri('vda')]));
    expect(list.exports.map((one: { 'export-name': string }) => one['export-name'])).toEqual(['vda', 'raw']);
  });

  it('reads the maps', async () => {
    const dirty = await nbdinfoMap(server.uri('vda'), 'qemu:dirty-bitmap:x');
    expect(dirty.filter(entry => entry.type === 1).map(({ offset, length }) => [offset, length])).toEqual(
      DIRTY,
    );
    const allocation = await nbdinfoMap(server.uri('vda'));
    for (const { offset, length, type } of allocation) {
      expect([0, 3]).toContain(type);
      if (type === 3) expect(content.subarray(offset, offset + length).every(byte => byte === 0)).toBe(true);
    }
    expect(allocation.at(-1)).toMatchObject({ offset: 40 * MIB, length: 777, type: 0 });
    expect(await nbdinfoMap(server.uri('raw'))).toMatchObject([{ offset: 0, length: SIZE, type: 0 }]);
  });

  it('does not find what is not there', async () => {
    const result = await run('nbdinfo', [server.uri('vda').replace('vda', 'vdb')]);
    expect(result.code).not.toBe(0);
    expect(result.stderr).toMatch(/no export|No such file|unknown/i);
  });

  it.each(['vda', 'raw'])('copies %s', async name => {
    await nbdcopy(server.uri(name), folder.file(`copy-${name}`));
    expect((await readFile(folder.file(`copy-${name}`))).equals(content)).toBe(true);
  });

  it('copies over TCP', async () => {
    await using tcp = await start({ listen: { kind: 'tcp', host: '127.0.0.1', port: 0 } });
    await nbdcopy(tcp.uri('vda'), folder.file('copy-tcp'));
    expect((await readFile(folder.file('copy-tcp'))).equals(content)).toBe(true);
  });

  it('copies many times at once', async () => {
    const copies = ['vda', 'raw', 'vda', 'raw', 'vda'].map(async (name, index) => {
      const target = folder.file(`many-${index}`);
      await nbdcopy(server.uri(name), target);
      return (await readFile(target)).equals(content);
    });
    expect(await Promise.all(copies)).toEqual(copies.map(() => true));
  });

  it('copies in one request at a time of the largest size', async () => {
    const options = ['--requests=1', '--connections=1', '--request-size=33554432'];
    await runOk('nbdcopy', [...options, server.uri('raw'), folder.file('copy-large')]);
    expect((await readFile(folder.file('copy-large'))).equals(content)).toBe(true);
  });

  it('is told of a source that fails, and copies nothing of it', async () => {
    const told: NbdeltaError[] = [];
    const broken = {
      size: MIB,
      contexts: [],
      readInto: () => Promise.reject(new Error('frame 7 is damaged')),
      status: () => [],
    };
    await using failing = await start({
      exports: [{ name: '', source: broken }],
      onError: error => told.push(error),
    });
    const result = await run('nbdcopy', [failing.uri(''), folder.file('broken')]);
    expect(result.code).not.toBe(0);
    expect(result.stderr).toMatch(/Input\/output error/);
    expect(told[0]?.message).toMatch(/frame 7 is damaged/);
  });
});

describeWith(['qemu-img', 'qemu-io'], 'QEMU', () => {
  it.each(['vda', 'raw'])('converts and compares %s', async name => {
    const target = folder.file(`converted-${name}`);
    await runOk('qemu-img', ['convert', '-f', 'raw', '-O', 'raw', server.uri(name), target]);
    // QEMU counts in sectors: the disk ends with one filled up with zeroes.
    expect((await readFile(target)).subarray(0, SIZE).equals(content)).toBe(true);
    await runOk('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', server.uri(name), folder.file('disk.raw')]);
  });

  it('maps allocation and dirty bitmap', async () => {
    const map = async (options: string) => {
      const path = server.address.kind === 'unix' ? server.address.path : '';
      const image = `driver=nbd,server.type=unix,server.path=${path},export=vda${options}`;
      const text = await runOk('qemu-img', ['map', '--output=json', '--image-opts', image]);
      return JSON.parse(text) as { start: number; length: number; zero: boolean; data: boolean }[];
    };
    const zero = (await map('')).filter(entry => entry.zero && entry.start < SIZE);
    expect(zero[0]).toMatchObject({ start: 0, length: 3 * MIB - KIB64 });
    const dirty = (await map(',x-dirty-bitmap=qemu:dirty-bitmap:x')).filter(
      entry => !entry.data && entry.start < SIZE,
    );
    expect(dirty.map(({ start, length }) => [start, Math.min(length, SIZE - start)])).toEqual(DIRTY);
  });

  it('reads at any offset, and cannot write', async () => {
    const at = 3 * MIB - 103;
    const text = await runOk('qemu-io', ['-r', '-f', 'raw', '-c', `read -v ${at} 16`, server.uri('vda')]);
    const bytes = content
      .subarray(at, at + 16)
      .toString('hex')
      .match(/../g)
      ?.join(' ');
    expect(text).toContain(bytes);
    const refused = await run('qemu-io', ['-f', 'raw', '-c', 'write 0 512', server.uri('vda')]);
    expect(refused.stdout + refused.stderr).toMatch(/permission denied|read-?only|not permitted/i);
    expect(refused.code).not.toBe(0);
  });
});

describeWith(['nbdinfo', 'nbdcopy', 'openssl'], 'TLS', () => {
  let certificates: Certificates;
  const certified = (folderOf: string, uri: string) =>
    `${uri}${uri.includes('?') ? '&' : '?'}tls-certificates=${folderOf}`;

  beforeAll(async () => {
    certificates = await makeCertificates(folder);
  });

  /** On TCP, under the name in the certificate. */
  async function startTls(
    requireClientCertificate: boolean,
  ): Promise<NbdServer & { readonly told: string[] }> {
    const told: string[] = [];
    const tls = { kind: 'x509', certificates: certificates.server, requireClientCertificate } as const;
    const listen = { kind: 'tcp', host: 'localhost', port: 0 } as const;
    const secured = await start({ tls, listen, onError: error => told.push(error.code) });
    return Object.assign(secured, { told });
  }

  it('with certificates copies, and lets nobody in without TLS', async () => {
    await using secured = await startTls(false);
    const uri = certified(certificates.anonymousClient, secured.uri('vda'));
    expect(uri).toMatch(/^nbds:\/\/localhost/);
    expect((await nbdinfo(uri)).TLS).toBe(true);
    await nbdcopy(uri, folder.file('copy-tls'));
    expect((await readFile(folder.file('copy-tls'))).equals(content)).toBe(true);
    const plain = await run('nbdinfo', [secured.uri('vda').replace('nbds', 'nbd')]);
    expect(plain.code).not.toBe(0);
    expect(plain.stderr).toMatch(/TLS|not supported/i); // libnbd's word for NBD_REP_ERR_TLS_REQD
    expect(plain.stdout).not.toContain(`${SIZE}`);
    expect(secured.told).toEqual([]);
  });

  it('is refused by a client with another CA', async () => {
    await using secured = await startTls(false);
    const refused = await run('nbdinfo', [certified(certificates.distrustfulClient, secured.uri('vda'))]);
    expect(refused.code).not.toBe(0);
    expect(refused.stderr).toMatch(/certificate/i);
    expect(secured.told).toEqual(['NBD_TLS_FAILED']);
    expect((await nbdinfo(certified(certificates.client, secured.uri('vda')))).TLS).toBe(true);
  });

  it('with certificates on both sides knows its clients', async () => {
    await using secured = await startTls(true);
    await nbdcopy(certified(certificates.client, secured.uri('raw')), folder.file('copy-both'));
    expect((await readFile(folder.file('copy-both'))).equals(content)).toBe(true);
    for (const stranger of [certificates.anonymousClient, certificates.strangerClient]) {
      const refused = await run('nbdinfo', ['--size', certified(stranger, secured.uri('raw'))]);
      expect(refused.code).not.toBe(0);
      expect(refused.stdout).toBe('');
    }
    expect(secured.told).toEqual(['NBD_TLS_FAILED', 'NBD_TLS_FAILED']);
  });

  it('with a pre-shared key copies, over a unix socket too', async () => {
    const keys = await makePskKeys(folder);
    const told: string[] = [];
    await using secured = await start({
      tls: { kind: 'psk', pskFile: keys.file },
      onError: error => told.push(error.code),
    });
    const uri = (file: string) =>
      `${secured.uri('vda').replace('://', `://${keys.user}@`)}&tls-psk-file=${file}`;
    await nbdcopy(uri(keys.file), folder.file('copy-psk'));
    expect((await readFile(folder.file('copy-psk'))).equals(content)).toBe(true);
    const wrong = folder.file('wrong.psk');
    await writeFile(wrong, `${keys.user}:${'00'.repeat(32)}\n`);
    expect((await run('nbdinfo', [uri(wrong)])).code).not.toBe(0);
    expect(told).toEqual(['NBD_TLS_FAILED']);
  });
});

describeWith(['qemu-img', 'openssl'], 'QEMU over TLS', () => {
  it('converts with a client certificate', async () => {
    await using own = await tempFolder();
    const certificates = await makeCertificates(own);
    await using secured = await start({
      tls: { kind: 'x509', certificates: certificates.server, requireClientCertificate: true },
      listen: { kind: 'tcp', host: 'localhost', port: 0 },
    });
    const port = secured.address.kind === 'tcp' ? secured.address.port : 0;
    const credentials = `tls-creds-x509,id=tls0,endpoint=client,dir=${certificates.client}`;
    const image = `driver=nbd,server.type=inet,server.host=localhost,server.port=${port},export=vda,tls-creds=tls0`;
    const target = own.file('converted');
    await runOk('qemu-img', ['convert', '--object', credentials, '--image-opts', image, '-O', 'raw', target]);
    expect((await readFile(target)).subarray(0, SIZE).equals(content)).toBe(true);
  });
});

describe('what the peers are compared with', () => {
  it('is the same disk in both sources', async () => {
    const bytes = Buffer.alloc(SIZE);
    await raw.readInto(0, bytes);
    expect(bytes.equals(content)).toBe(true);
  });
});
