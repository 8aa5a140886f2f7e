/** Where the server listens, and what it refuses before it does. */

import { once } from 'node:events';
import { lstat, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type NbdServerOptions, startNbdServer } from '#nbdelta/nbd/server/nbd-server.js';
import { runOk } from '../../../support/processes.js';
import { type TempFolder, tempFolder } from '../../../support/temp-folder.js';
import { SampleSource } from './sample-source.js';
import { enter } from './session.js';

const source = new SampleSource({ content: Buffer.alloc(4096) });
let folder: TempFolder;
let path: string;

beforeEach(async () => {
  folder = await tempFolder();
  path = folder.file('s');
});
afterEach(() => folder[Symbol.asyncDispose]());

const start = (options: Partial<NbdServerOptions> = {}) =>
  startNbdServer({ exports: [{ name: '', source }], listen: { kind: 'unix', path }, ...options });

describe('a unix socket', () => {
  it('is for our own user only, and gone after close', async () => {
    const umask = process.umask();
    const server = await start();
    expect((await lstat(path)).mode & 0o777).toBe(0o600);
    expect(process.umask()).toBe(umask);
    await server.close();
    await expect(lstat(path)).rejects.toThrow('ENOENT');
  });

  it('that nobody listens on any more is replaced', async () => {
    // The process dies without removing its socket.
    const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
    await runOk(process.execPath, ['-e', script]).catch(() => undefined);
    expect((await lstat(path)).isSocket()).toBe(true);
    await using server = await start();
    using client = await enter(path);
    expect(server.connections).toBe(1);
    expect(client.socket.destroyed).toBe(false);
  });

  it('that somebody listens on is left alone', async () => {
    await using first = await start();
    await expect(start()).rejects.toMatchObject({ code: 'NBD_LISTEN_FAILED', message: /listens on/ });
    using _client = await enter(path);
    expect(first.connections).toBe(1);
  });

  it('does not take the place of a file', async () => {
    await writeFile(path, 'precious');
    await expect(start()).rejects.toMatchObject({ code: 'USAGE', message: /is not a socket/ });
    expect((await lstat(path)).size).toBe(8);
  });

  it.each([['x'.repeat(108)], [''], ['\0abstract']])('refuses the path %j', async bad => {
    await expect(start({ listen: { kind: 'unix', path: bad } })).rejects.toMatchObject({ code: 'USAGE' });
  });

  it('in a folder that is not there is an error with the path', async () => {
    const listen = { kind: 'unix', path: folder.file('no', 's') } as const;
    await expect(start({ listen })).rejects.toMatchObject({
      code: 'NBD_LISTEN_FAILED',
      message: new RegExp(listen.path),
    });
  });
});

describe('TCP', () => {
  const listen = { kind: 'tcp', host: '127.0.0.1', port: 0 } as const;

  it('takes a free port and says which', async () => {
    await using server = await start({ listen, exports: [{ name: 'a b/c', source }] });
    if (server.address.kind !== 'tcp') throw new Error('not TCP');
    expect(server.address.port).toBeGreaterThan(0);
    expect(server.uri('a b/c')).toBe(`nbd://127.0.0.1:${server.address.port}/a%20b/c`);
    const socket = connect(server.address.port, '127.0.0.1');
    const [greeting] = (await once(socket, 'data')) as [Buffer];
    expect(greeting.subarray(0, 8).toString()).toBe('NBDMAGIC');
    socket.destroy();
  });

  it('says when the port is taken, or none', async () => {
    const other = createServer();
    await new Promise<void>(resolve => other.listen(0, '127.0.0.1', resolve));
    const { port } = other.address() as { port: number };
    await expect(start({ listen: { ...listen, port } })).rejects.toMatchObject({
      code: 'NBD_LISTEN_FAILED',
      message: /EADDRINUSE/,
    });
    other.close();
    await expect(start({ listen: { ...listen, port: 70_000 } })).rejects.toMatchObject({
      code: 'NBD_LISTEN_FAILED',
    });
  });

  it('on all addresses has a URI that can be connected to', async () => {
    await using server = await start({ listen: { ...listen, host: '0.0.0.0' } });
    expect(server.uri('')).toMatch(/^nbd:\/\/localhost:\d+\/$/);
  });
});

describe('exports', () => {
  it.each([
    [
      'the same name twice',
      [
        { name: 'a', source },
        { name: 'a', source },
      ],
    ],
    ['a name of 4097 bytes', [{ name: 'é'.repeat(2049), source }]],
    ['a name with NUL', [{ name: 'a\0', source }]],
    ['a size that is none', [{ name: 'a', source: Object.assign(Object.create(source), { size: -1 }) }]],
    [
      'a minimum block size that does not divide the size',
      [{ name: 'a', source, blockSize: { minimum: 8192, preferred: 8192, maximum: 65536 } }],
    ],
    [
      'a minimum block size of 3',
      [{ name: 'a', source, blockSize: { minimum: 3, preferred: 4096, maximum: 65536 } }],
    ],
    [
      'a maximum above 32 MiB',
      [{ name: 'a', source, blockSize: { minimum: 1, preferred: 4096, maximum: 0x2000001 } }],
    ],
  ])('are refused with %s', async (_what, exports) => {
    await expect(start({ exports })).rejects.toMatchObject({ code: 'USAGE' });
    await expect(lstat(path)).rejects.toThrow('ENOENT');
  });

  it('have no URI when they are not there', async () => {
    await using server = await start();
    expect(() => server.uri('x')).toThrow(/no export "x"/);
  });
});

describe('TLS credentials', () => {
  it('that are missing or useless keep the server from listening', async () => {
    const tls = { kind: 'x509', certificates: folder.path } as const;
    await expect(start({ tls })).rejects.toMatchObject({
      code: 'NBD_TLS_FAILED',
      message: /server-cert.pem/,
    });
    await writeFile(folder.file('server-cert.pem'), 'x');
    await writeFile(folder.file('server-key.pem'), 'x');
    await expect(start({ tls })).rejects.toMatchObject({ code: 'NBD_TLS_FAILED', message: /cannot be used/ });
    const pskFile = folder.file('server-key.pem');
    await expect(start({ tls: { kind: 'psk', pskFile } })).rejects.toMatchObject({
      code: 'NBD_TLS_FAILED',
      message: /has no key/,
    });
    await expect(lstat(path)).rejects.toThrow('ENOENT');
  });
});
