import { readFile } from 'node:fs/promises';
import { createSecureContext, type SecureContext, TLSSocket } from 'node:tls';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { connectNbd } from '#nbdelta/nbd/client/client.js';
import { type Certificates, makeCertificates, makePskKeys, type PskKeys } from '../support/certificates.js';
import { describeWith } from '../support/peers.js';
import {
  ACK,
  ERR_UNSUP,
  GREETING,
  honestAnswer,
  optionReply,
  serveHonestly,
} from '../support/scripted-nbd.js';
import { ScriptedPeer } from '../support/scripted-peer.js';
import { type ScriptedServer, startScriptedServer } from '../support/scripted-server.js';
import { type TempFolder, tempFolder } from '../support/temp-folder.js';
import { be } from '../support/wire-bytes.js';
import { expectNoHandlesLeft, failure, IMPATIENT } from './hostile-client.js';

const DISK = { size: 1 << 16 };

function secureUri(server: ScriptedServer, parameters: string): string {
  if (server.address.kind !== 'unix') throw new Error('unix only');
  return `nbds+unix:///disk?socket=${server.address.socket}&${parameters}`;
}

async function askForTls(peer: ScriptedPeer, answer = optionReply(5, ACK)): Promise<void> {
  peer.send(GREETING);
  await peer.take(4);
  expect(await peer.option()).toMatchObject({ option: 5 });
  peer.send(answer);
}

/** Goes on inside TLS, with a certificate and without any pre-shared key. */
function startTls(peer: ScriptedPeer, secureContext: SecureContext): ScriptedPeer {
  peer.socket.removeAllListeners('data');
  const secure = new TLSSocket(peer.socket, { isServer: true, secureContext });
  return new ScriptedPeer(secure);
}

async function serverContext(folder: string): Promise<SecureContext> {
  const [cert, key] = await Promise.all(
    ['cert', 'key'].map(name => readFile(`${folder}/server-${name}.pem`)),
  );
  return createSecureContext({ cert, key });
}

describeWith(['openssl'], 'STARTTLS', () => {
  expectNoHandlesLeft();
  let folder: TempFolder;
  let certificates: Certificates;
  let keys: PskKeys;
  let context: SecureContext;
  beforeAll(async () => {
    folder = await tempFolder();
    [certificates, keys] = await Promise.all([makeCertificates(folder), makePskKeys(folder)]);
    context = await serverContext(certificates.server);
  });
  afterAll(() => folder[Symbol.asyncDispose]());

  it('plaintext injected behind the answer is not taken for the server’s word', async () => {
    await using server = await startScriptedServer(async peer => {
      await askForTls(peer, optionReply(5, ACK) + optionReply(8, ACK));
      await peer.gone();
    });
    const error = await failure(
      connectNbd(secureUri(server, `tls-certificates=${certificates.client}`), IMPATIENT),
    );
    expect(error).toMatchObject({
      code: 'NBD_PROTOCOL',
      message: expect.stringMatching(/unencrypted bytes/),
    });
  });

  it('plaintext injected a moment later is not either', async () => {
    await using server = await startScriptedServer(async peer => {
      await askForTls(peer);
      await peer.take(5);
      peer.send(optionReply(8, ACK).repeat(4));
      await peer.gone();
    });
    const error = await failure(
      connectNbd(secureUri(server, `tls-certificates=${certificates.client}`), IMPATIENT),
    );
    expect(error).toMatchObject({ code: 'NBD_TLS_FAILED' });
  });

  it.each([
    ['a refusal', GREETING, optionReply(5, ERR_UNSUP)],
    ['a refusal by policy', GREETING, optionReply(5, 0x80000002)],
    ['a server without fixed newstyle', '4e42444d41474943 49484156454f5054 0002', ''],
  ])('%s is NBD_TLS_FAILED: nothing is sent unencrypted', async (_name, greeting, answer) => {
    const after: string[] = [];
    await using server = await startScriptedServer(async peer => {
      peer.send(greeting);
      await peer.take(4);
      if (answer) {
        await peer.option();
        peer.send(answer);
      }
      after.push((await peer.take(1).catch(() => Buffer.alloc(0))).toString('hex'));
    });
    const error = await failure(
      connectNbd(secureUri(server, `tls-certificates=${certificates.client}`), IMPATIENT),
    );
    expect(error).toMatchObject({
      code: 'NBD_TLS_FAILED',
      message: expect.stringMatching(/does not offer TLS/),
    });
    expect(after.join('')).toBe('');
  });

  it('a TLS handshake that never comes has a time limit', async () => {
    await using server = await startScriptedServer(async peer => {
      await askForTls(peer);
      await peer.hang();
    });
    const error = await failure(
      connectNbd(secureUri(server, `tls-certificates=${certificates.client}`), IMPATIENT),
    );
    expect(error).toMatchObject({ code: 'NBD_TIMEOUT' });
  });

  it('a connection cut in the TLS handshake', async () => {
    await using server = await startScriptedServer(async peer => {
      await askForTls(peer);
      await peer.take(5);
      peer.cut();
    });
    const error = await failure(
      connectNbd(secureUri(server, `tls-certificates=${certificates.client}`), IMPATIENT),
    );
    expect(error).toMatchObject({ code: 'NBD_TLS_FAILED' });
  });

  it('a pre-shared key was asked for: a certificate proves nothing', async () => {
    await using server = await startScriptedServer(async peer => {
      await askForTls(peer);
      const secure = startTls(peer, context);
      await serveInside(secure);
    });
    const error = await failure(connectNbd(secureUri(server, `tls-psk-file=${keys.file}`), IMPATIENT));
    expect(error).toMatchObject({ code: 'NBD_TLS_FAILED' });
  });

  it('what was agreed on before TLS holds inside: no 124 zeroes behind NBD_OPT_EXPORT_NAME', async () => {
    await using server = await startScriptedServer(async peer => {
      await askForTls(peer);
      const secure = startTls(peer, context);
      while (true) {
        const { option } = await secure.option();
        if (option === 1) break;
        secure.send(optionReply(option, ERR_UNSUP));
      }
      secure.send(`${be(4096, 8)} 0001`);
      await secure.request();
    });
    const client = await connectNbd(secureUri(server, `tls-certificates=${certificates.client}`), IMPATIENT);
    expect(client.size).toBe(4096);
    await client.close();
  });

  it('an honest server works', async () => {
    await using server = await startScriptedServer(async peer => {
      await askForTls(peer);
      await serveInside(startTls(peer, context));
    });
    const client = await connectNbd(secureUri(server, `tls-certificates=${certificates.client}`), IMPATIENT);
    expect(await client.read(0, 1000)).toHaveLength(1000);
    await client.close();
  });
});

async function serveInside(secure: ScriptedPeer): Promise<void> {
  for (let option = 0; option !== 7; ) {
    ({ option } = await secure.option());
    secure.send(honestAnswer(option, DISK));
  }
  await serveHonestly(secure);
}
