/** TLS with the real servers: what is verified, and what each way of failing is called. */

import { writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { NbdeltaError } from '#nbdelta/errors.js';
import { connectNbd } from '#nbdelta/nbd/client/client.js';
import { type Certificates, makeCertificates, makePskKeys, type PskKeys } from '../support/certificates.js';
import type { NbdServerHandle, ServerTls } from '../support/nbd-server-handle.js';
import { startNbdkit } from '../support/nbdkit.js';
import { describeWith } from '../support/peers.js';
import { startQemuNbd } from '../support/qemu-nbd.js';
import { SeededRandom } from '../support/random.js';
import { type TempFolder, tempFolder } from '../support/temp-folder.js';

const OPTIONS = { connections: 2, handshakeTimeoutMs: 5_000, retries: 0 };
const CONTENT = new SeededRandom(5).bytes(600 * 512);

let folder: TempFolder;
let image: string;
let certificates: Certificates;
let alice: PskKeys;
let other: PskKeys;
beforeAll(async () => {
  folder = await tempFolder();
  image = folder.file('disk.raw');
  await writeFile(image, CONTENT);
  certificates = await makeCertificates(folder);
  alice = await makePskKeys(folder);
  other = await makePskKeys(folder, 'mallory');
});
afterAll(() => folder[Symbol.asyncDispose]());

type Start = (tls: ServerTls | undefined, transport: 'unix' | 'tcp') => Promise<NbdServerHandle>;

const SERVERS: readonly (readonly [string, Start])[] = [
  ['qemu-nbd', (tls, transport) => startQemuNbd({ image, format: 'raw', transport, ...(tls && { tls }) })],
  ['nbdkit', (tls, transport) => startNbdkit({ plugin: ['file', image], transport, ...(tls && { tls }) })],
];

function secure(server: NbdServerHandle, parameters: string): string {
  const uri = server.uri.replace(/^nbd(s?)/, 'nbds');
  return `${uri}${uri.includes('?') ? '&' : '?'}${parameters}`;
}

async function content(uri: string): Promise<Buffer> {
  const client = await connectNbd(uri, OPTIONS);
  try {
    return Buffer.from(await client.read(0, client.size));
  } finally {
    await client.close();
  }
}

/** The error of connecting and reading a byte. */
async function failure(uri: string): Promise<NbdeltaError> {
  const error = await content(uri).catch((cause: unknown) => cause);
  if (error instanceof NbdeltaError) return error;
  throw new Error('an NbdeltaError was expected', { cause: error });
}

describeWith(['qemu-nbd', 'nbdkit', 'openssl'], 'TLS', () => {
  describe.each(SERVERS)('%s', (_name, start) => {
    it.each(['unix', 'tcp'] as const)('x509 over %s', async transport => {
      await using server = await start({ kind: 'x509', folder: certificates.server }, transport);
      expect((await content(secure(server, `tls-certificates=${certificates.client}`))).equals(CONTENT)).toBe(
        true,
      );
      expect(
        (await content(secure(server, `tls-certificates=${certificates.anonymousClient}`))).equals(CONTENT),
      ).toBe(true);
    });

    it('a client certificate that the server demands', async () => {
      await using server = await start(
        { kind: 'x509', folder: certificates.server, verifyClient: true },
        'tcp',
      );
      expect((await content(secure(server, `tls-certificates=${certificates.client}`))).equals(CONTENT)).toBe(
        true,
      );
      for (const client of [certificates.anonymousClient, certificates.strangerClient]) {
        const error = await failure(secure(server, `tls-certificates=${client}`));
        expect(error).toMatchObject({ code: 'NBD_TLS_FAILED' });
        expect(error.hint).toMatch(/client/);
      }
    });

    it('a server of another CA', async () => {
      await using server = await start({ kind: 'x509', folder: certificates.server }, 'tcp');
      const error = await failure(secure(server, `tls-certificates=${certificates.distrustfulClient}`));
      expect(error).toMatchObject({
        code: 'NBD_TLS_FAILED',
        hint: expect.stringMatching(/not signed by the given CA/),
      });
      // Without certificates it is the system's CAs that count, and they do not know ours.
      expect(await failure(secure(server, 'tls-type=x509'))).toMatchObject({ code: 'NBD_TLS_FAILED' });
    });

    it('a certificate for another host; the right name can be given', async () => {
      await using server = await start({ kind: 'x509', folder: certificates.wrongHostServer }, 'tcp');
      const trusted = `tls-certificates=${certificates.client}`;
      const error = await failure(secure(server, trusted));
      expect(error).toMatchObject({ code: 'NBD_TLS_FAILED', hint: expect.stringMatching(/tls-hostname/) });
      const named = await content(secure(server, `${trusted}&tls-hostname=elsewhere.example`));
      expect(named.equals(CONTENT)).toBe(true);
    });

    it('a plain client', async () => {
      await using server = await start({ kind: 'x509', folder: certificates.server }, 'tcp');
      const error = await failure(server.uri.replace('nbds', 'nbd'));
      expect(error).toMatchObject({ code: 'NBD_TLS_REQUIRED', hint: expect.stringMatching(/nbds:/) });
    });

    it('a plain server', async () => {
      await using server = await start(undefined, 'unix');
      const error = await failure(secure(server, `tls-certificates=${certificates.client}`));
      expect(error).toMatchObject({
        code: 'NBD_TLS_FAILED',
        message: expect.stringMatching(/does not offer TLS/),
      });
    });

    it.each(['unix', 'tcp'] as const)('a pre-shared key over %s', async transport => {
      await using server = await start({ kind: 'psk', folder: alice.folder }, transport);
      expect((await content(secure(server, `tls-psk-file=${alice.file}`))).equals(CONTENT)).toBe(true);
    });

    it('a wrong key, an unknown user, a user without a key', async () => {
      await using server = await start({ kind: 'psk', folder: alice.folder }, 'tcp');
      const wrong = folder.file(`wrong-${_name}.psk`);
      await writeFile(wrong, `alice:${other.keyHex}\n`);
      expect(await failure(secure(server, `tls-psk-file=${wrong}`))).toMatchObject({
        code: 'NBD_TLS_FAILED',
      });
      expect(await failure(secure(server, `tls-psk-file=${other.file}`))).toMatchObject({
        code: 'NBD_TLS_FAILED',
      });
      const nobody = await failure(secure(server, `tls-psk-file=${alice.file}&tls-username=bob`));
      expect(nobody).toMatchObject({
        code: 'NBD_TLS_FAILED',
        message: expect.stringMatching(/no key for user "bob"/),
      });
      expect(nobody.message).not.toContain(alice.keyHex);
    });
  });

  it('an expired certificate', async () => {
    // QEMU refuses to load it: nbdkit does not look.
    const tls = { kind: 'x509', folder: certificates.expiredServer } as const;
    await using server = await startNbdkit({ plugin: ['file', image], transport: 'tcp', tls });
    const error = await failure(secure(server, `tls-certificates=${certificates.client}`));
    expect(error).toMatchObject({ code: 'NBD_TLS_FAILED', hint: expect.stringMatching(/expired/) });
  });

  it('certificates that are not there', async () => {
    const uri = `nbds://localhost:1/x?tls-certificates=${folder.file('nowhere')}`;
    expect(await failure(uri)).toMatchObject({
      code: 'NBD_TLS_FAILED',
      message: expect.stringMatching(/ca-cert\.pem/),
    });
  });
});
