/** STARTTLS with raw bytes around it; certificates are tested with real clients in test/interop. */
import { once } from 'node:events';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { NbdeltaError } from '#nbdelta/errors.js';
import { type NbdServer, startNbdServer } from '#nbdelta/nbd/server/nbd-server.js';
import { makePskKeys, type PskKeys } from '../../../support/certificates.js';
import { waitFor } from '../../../support/processes.js';
import { type TempFolder, tempFolder } from '../../../support/temp-folder.js';
import { RawClient, wire } from './raw-client.js';
import { SampleSource } from './sample-source.js';
import { option, request } from './session.js';

const GREETING = 18;
const CONSENT = wire('0003e889045565a9 00000005 00000001 00000000').toString('hex');

let folder: TempFolder;
let path: string;
let keys: PskKeys;
let server: NbdServer;
let errors: NbdeltaError[];

beforeEach(async () => {
  folder = await tempFolder();
  path = folder.file('s');
  keys = await makePskKeys(folder);
  errors = [];
  const source = new SampleSource({ content: Buffer.alloc(4 << 20, 'x') });
  server = await startNbdServer({
    exports: [{ name: '', source }],
    listen: { kind: 'unix', path },
    tls: { kind: 'psk', pskFile: keys.file },
    handshakeTimeoutMs: 500,
    onError: error => errors.push(error),
  });
});
afterEach(async () => {
  await server.close();
  await folder[Symbol.asyncDispose]();
});

/** Greeting, flags and STARTTLS; the next bytes belong to TLS. */
async function askForTls(): Promise<RawClient> {
  const client = await RawClient.connect(path);
  client.send('00000003', option('05'));
  await client.take(GREETING);
  expect(await client.take(20)).toBe(CONSENT);
  return client;
}

function secure(client: RawClient, psk = keys.keyHex): TLSSocket {
  client.socket.removeAllListeners('data');
  const secured = connectTls({
    socket: client.socket,
    pskCallback: () => ({ identity: keys.user, psk: Buffer.from(psk, 'hex') }),
    ciphers: 'TLS_AES_128_GCM_SHA256:PSK-AES128-GCM-SHA256',
    checkServerIdentity: () => undefined,
  });
  secured.on('error', () => undefined);
  return secured;
}

async function enterSecured(client: RawClient): Promise<TLSSocket> {
  const secured = secure(client);
  await once(secured, 'secureConnect');
  secured.write(wire(option('01')));
  await once(secured, 'data');
  return secured;
}

describe('STARTTLS', () => {
  it('secures the connection, once', async () => {
    using client = await askForTls();
    const secured = secure(client);
    await once(secured, 'secureConnect');
    secured.write(wire(option('05')));
    const [refused] = (await once(secured, 'data')) as [Buffer];
    expect(refused.subarray(8, 16).toString('hex')).toBe('0000000580000003');
    secured.write(wire(option('01')));
    const [info] = (await once(secured, 'data')) as [Buffer];
    expect(info.toString('hex')).toBe('00000000004000000503');
    secured.write(wire(request('00', 0, 1)));
    const [reply] = (await once(secured, 'data')) as [Buffer];
    expect(reply.toString('hex')).toBe('67446698000000000000000000000007' + '78');
    expect(errors).toEqual([]);
  });

  it('with plain bytes behind it is an attack, and gets no consent', async () => {
    using client = await RawClient.connect(path);
    await client.take(GREETING);
    client.send('00000003', option('05'), option('03'));
    expect(await client.rest()).toBe('');
    await waitFor(() => errors.length === 1, 'the error');
    expect(errors).toMatchObject([{ code: 'NBD_PROTOCOL', message: /plain bytes behind NBD_OPT_STARTTLS/ }]);
  });

  it('followed by nonsense is the end of that connection', async () => {
    using client = await askForTls();
    client.send(option('01'));
    await client.rest();
    await waitFor(() => errors.length === 1, 'the error');
    expect(errors).toMatchObject([{ code: 'NBD_TLS_FAILED' }]);
    expect(server.connections).toBe(0);
  });

  it('followed by silence ends when the time is over', async () => {
    using client = await askForTls();
    await client.rest();
    await waitFor(() => errors.length === 1, 'the error');
    expect(errors).toMatchObject([{ code: 'NBD_TIMEOUT' }]);
  });

  it('with a wrong key is refused', async () => {
    using client = await askForTls();
    const secured = secure(client, '00'.repeat(32));
    await waitFor(() => secured.destroyed, 'the end of TLS');
    await waitFor(() => errors.length === 1, 'the error');
    expect(errors).toMatchObject([{ code: 'NBD_TLS_FAILED' }]);
  });

  it('survives clients that vanish, and close ends those that stay', async () => {
    using vanishing = await askForTls();
    const gone = await enterSecured(vanishing);
    gone.write(wire(request('00', 0, 4 << 20)));
    await once(gone, 'data');
    gone.destroy();
    await waitFor(() => server.connections === 0, 'the end');
    using staying = await askForTls();
    const secured = await enterSecured(staying);
    const end = once(secured, 'close');
    await server.close();
    await end;
  });

  it('ends politely after NBD_CMD_DISC', async () => {
    using client = await askForTls();
    const secured = await enterSecured(client);
    secured.resume();
    secured.write(wire(request('02', 0, 0)));
    await once(secured, 'end');
    await waitFor(() => server.connections === 0, 'the end');
    expect(errors).toEqual([]);
  });
});
