import { readFile } from 'node:fs/promises';
import { isIP, type Socket } from 'node:net';
import { join } from 'node:path';
import { type ConnectionOptions, checkServerIdentity, connect, type TLSSocket } from 'node:tls';
import { errorLine, NbdNegotiationError } from '../../errors.js';
import type { NbdTls } from '../protocol/uri.js';
import { receiveDecrypted } from './receive-decrypted.js';
import { SocketPipe } from './socket-pipe.js';

/** TLS credentials, read and checked before the first byte is sent. */
export type TlsCredentials = Readonly<ConnectionOptions>;

/** Fast first: AES-128-GCM moves three times what the default does with a pre-shared key. */
export const PSK_CIPHERS = [
  'TLS_AES_128_GCM_SHA256',
  'ECDHE-PSK-CHACHA20-POLY1305',
  'DHE-PSK-AES128-GCM-SHA256',
  'PSK-AES128-GCM-SHA256',
  'PSK-AES256-GCM-SHA384',
].join(':');

/** Reads what a URI names: certificates or the key of its user. */
export async function readTlsCredentials(tls: NbdTls): Promise<TlsCredentials> {
  return tls.kind === 'psk' ? readPsk(tls) : readCertificates(tls);
}

async function readCertificates(tls: NbdTls): Promise<TlsCredentials> {
  // Over a unix socket there is no host in the URI; certificates for local use name localhost.
  const name = tls.hostname ?? 'localhost';
  const identity: ConnectionOptions = {
    ...(isIP(name) ? {} : { servername: name }),
    checkServerIdentity: (_host, certificate) => checkServerIdentity(name, certificate),
  };
  if (!tls.certificates) return identity;
  const folder = tls.certificates;
  const ca = await readCredential(join(folder, 'ca-cert.pem'), true);
  const cert = await readCredential(join(folder, 'client-cert.pem'), false);
  const key = await readCredential(join(folder, 'client-key.pem'), cert !== undefined);
  return { ...identity, ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) };
}

async function readCredential(path: string, required: boolean): Promise<Buffer | undefined> {
  try {
    return await readFile(path);
  } catch (cause) {
    if (!required && (cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new NbdNegotiationError('NBD_TLS_FAILED', `cannot read ${path}: ${errorLine(cause)}`, {
      cause,
      hint: 'tls-certificates names a folder with ca-cert.pem, client-cert.pem and client-key.pem',
    });
  }
}

async function readPsk(tls: NbdTls): Promise<TlsCredentials> {
  const path = tls.pskFile!;
  const text = (await readCredential(path, true))!.toString('utf8');
  const keys = text
    .split('\n')
    .map(line => /^([^:#]+):([0-9A-Fa-f]+)\s*$/.exec(line.trim()))
    .filter(match => match !== null);
  const wanted = tls.username ?? (keys.length === 1 ? keys[0]![1] : process.env['USER'] || 'root');
  const found = keys.find(match => match[1] === wanted);
  if (!found) {
    throw new NbdNegotiationError('NBD_TLS_FAILED', `no key for user "${wanted}" in ${path}`, {
      hint: 'the file has lines USER:HEXKEY; name the user in the URI: nbds://USER@HOST/EXPORT?tls-psk-file=…',
    });
  }
  return {
    pskCallback: () => ({ identity: wanted!, psk: Buffer.from(found[2]!, 'hex') }),
    ciphers: PSK_CIPHERS,
    // The shared key is the proof of identity; `checkKeyUsed` demands it.
    checkServerIdentity: () => undefined,
  };
}

/**
 * Upgrades a connected socket to verified TLS.
 * @throws NbdNegotiationError (NBD_TLS_FAILED) when the handshake or the verification fails.
 */
export async function upgradeToTls(
  socket: Socket,
  credentials: TlsCredentials,
  description: string,
  timeoutMs: number,
): Promise<SocketPipe> {
  const secure = connect({
    ...credentials,
    socket,
    minVersion: 'TLSv1.2',
    rejectUnauthorized: credentials.pskCallback === undefined,
  });
  try {
    await secured(secure, timeoutMs);
    if (credentials.pskCallback) checkKeyUsed(secure);
  } catch (cause) {
    secure.destroy();
    throw tlsFailed(description, cause);
  }
  const pipe = new SocketPipe(secure, `${description} over TLS`);
  receiveDecrypted(secure, pipe);
  return pipe;
}

function secured(secure: TLSSocket, timeoutMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no TLS handshake within ${timeoutMs} ms`)), timeoutMs);
    const settle = (then: () => void) => {
      clearTimeout(timer);
      then();
    };
    secure.once('secureConnect', () => settle(resolve));
    secure.on('error', error => settle(() => reject(error)));
    secure.once('close', () => settle(() => reject(new Error('the server closed the connection'))));
  });
}

/**
 * With TLS 1.3 a server is free to ignore the key that we offer and show a certificate instead, which nobody
 * verifies: whoever sits in the middle could. Only a session that grew out of the key proves anything.
 */
function checkKeyUsed(secure: TLSSocket): void {
  const cipher = secure.getCipher().name;
  const used = secure.getProtocol() === 'TLSv1.3' ? secure.isSessionReused() : /(^|-)PSK-/.test(cipher);
  if (!used || secure.getPeerX509Certificate() !== undefined) {
    throw new Error('the server did not prove that it has the pre-shared key');
  }
}

function tlsFailed(description: string, cause: unknown): NbdNegotiationError {
  const code = (cause as NodeJS.ErrnoException).code ?? '';
  return new NbdNegotiationError('NBD_TLS_FAILED', `TLS with ${description} failed: ${errorLine(cause)}`, {
    cause,
    hint: tlsHint(code),
    fields: { reason: code },
  });
}

function tlsHint(code: string): string {
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    return 'the certificate is for another host: name it with tls-hostname=HOST if that host is the right one';
  }
  if (/SELF_SIGNED|UNABLE_TO|ISSUER/.test(code)) {
    return "the server's certificate is not signed by the given CA: check tls-certificates (ca-cert.pem)";
  }
  if (code === 'CERT_HAS_EXPIRED') return "the server's certificate has expired";
  return 'check the certificates or the key on both sides';
}
