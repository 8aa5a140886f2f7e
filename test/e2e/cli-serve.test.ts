/** `serve` as a process: TLS, many clients at once, one that stalls and one that sends garbage. */
import { once } from 'node:events';
import { connect as connectSocket, type Socket } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Certificates, makeCertificates } from '../support/certificates.js';
import { describeWith } from '../support/peers.js';
import { outputMatches, run } from '../support/processes.js';
import { type TempFolder, tempFolder } from '../support/temp-folder.js';
import { nbdelta, nbdeltaJson, startNbdelta } from './nbdelta-command.js';
import { MIB, makeSampleRepository, type SampleRepository } from './sample-guest.js';

const SERVING = outputMatches(/"pid": \d+\n}/);

describeWith(['nbdinfo', 'nbdcopy', 'openssl', 'certtool'], 'nbdelta serve', () => {
  let folder: TempFolder;
  let sample: SampleRepository;
  let certificates: Certificates;

  beforeAll(async () => {
    folder = await tempFolder();
    sample = await makeSampleRepository(folder);
    certificates = await makeCertificates(folder);
  });
  afterAll(() => folder[Symbol.asyncDispose]());

  const serving = (...args: readonly string[]) =>
    startNbdelta(['serve', 'web1', '--json', '--repo', sample.path, ...args], SERVING);
  const uriOf = (stdout: string) => JSON.parse(stdout).disks[0].uri as string;

  it('over TLS, to those who have a certificate, and to nobody without TLS', async () => {
    const tls = ['--tls-certificates', certificates.server, '--tls-verify-clients'];
    await using server = await serving('--listen', 'localhost:0', ...tls);
    const uri = uriOf(server.stdout);
    expect(uri).toMatch(/^nbds:/);
    const served = await run('nbdinfo', ['--size', `${uri}?tls-certificates=${certificates.client}`]);
    expect(served).toMatchObject({ code: 0 });
    const stranger = await run('nbdinfo', [
      '--size',
      `${uri}?tls-certificates=${certificates.strangerClient}`,
    ]);
    expect(stranger.code).not.toBe(0);
    expect((await run('nbdinfo', ['--size', uri.replace('nbds:', 'nbd:')])).code).not.toBe(0);
  });

  it('refuses options that make no sense, in one line', async () => {
    const common = ['serve', 'web1', '--repo', sample.path];
    for (const [args, text] of [
      [['--tls-verify-clients'], /needs --tls-certificates/],
      [['--tls-certificates', folder.file('nowhere')], /server-cert\.pem/],
      [['--since', '20200101T000000Z-00000000'], /has no point/],
      [['--cache', 'much'], /expected a size/],
    ] as const) {
      const { code, stderr } = await nbdelta([...common, ...args]);
      expect(code).not.toBe(0);
      expect(stderr).toMatch(text);
      expect(stderr.split('\n').length).toBeLessThan(4);
    }
  });

  it('many clients; one that stalls and one that sends garbage harm nobody', async () => {
    const socket = folder.file('s');
    await using server = await serving('--socket', socket);
    const uri = uriOf(server.stdout);
    const garbage = connectSocket(socket).on('error', () => undefined);
    garbage.write(Buffer.alloc(100_000, 0xa5));
    const stalled = await stallingClient(socket);
    const copies = Array.from({ length: 12 }, () => run('nbdcopy', [uri, 'null:']));
    expect((await Promise.all(copies)).map(({ code }) => code)).toEqual(copies.map(() => 0));
    expect(stalled.destroyed).toBe(false);
    stalled.destroy();
    garbage.destroy();
  });

  it('diff says the same as the served bitmap', async () => {
    const [first, last] = [sample.full, sample.incremental];
    const diff = await nbdeltaJson<{ readonly disks: readonly { readonly totals: Totals }[] }>([
      ...['diff', `web1@${first}`, `web1@${last}`, '--disk', 'vda', '--repo', sample.path],
    ]);
    await using server = await serving('--disk', 'vda', '--since', first, '--socket', folder.file('d'));
    const map = await nbdeltaJson<{ readonly totals: Totals }>([
      'map',
      uriOf(server.stdout),
      '--bitmap',
      first,
    ]);
    const changed = ({ data, zero }: Totals) => data + zero;
    const { totals } = diff.disks[0]!;
    expect(changed(totals)).toBeGreaterThan(0);
    expect(changed(map.totals)).toBeGreaterThanOrEqual(changed(totals));
    expect(changed(map.totals)).toBeLessThan(changed(totals) + 100 * 8192);
  });
});

interface Totals {
  readonly data: number;
  readonly zero: number;
}

const READS = 64;

/** Asks for much and never reads the answer: oldstyle negotiation is short enough to be written down here. */
async function stallingClient(path: string): Promise<Socket> {
  const socket = connectSocket(path);
  await once(socket, 'readable');
  const option = Buffer.alloc(4 + 16 + 3);
  option.writeUInt32BE(0b11, 0);
  option.write('IHAVEOPT', 4, 'latin1');
  option.writeUInt32BE(1, 12);
  option.writeUInt32BE(3, 16);
  option.write('vda', 20, 'latin1');
  socket.write(option);
  for (let cookie = 0; cookie < READS; cookie++) {
    const request = Buffer.alloc(28);
    request.writeUInt32BE(0x25609513, 0);
    request.writeUInt32BE(cookie, 12);
    request.writeUInt32BE(MIB, 24);
    socket.write(request);
  }
  return socket;
}
