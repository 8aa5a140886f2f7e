import { readFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { createSecureContext, createServer, type TLSSocket, type TlsOptions } from 'node:tls';
import { errorLine, NbdNegotiationError } from '../../errors.js';
import { PSK_CIPHERS } from '../transport/tls.js';

/** How clients and server prove who they are. No client is served without TLS when this is given. */
export type ServerTls =
  | {
      readonly kind: 'x509';
      /** Folder with server-cert.pem, server-key.pem and, to verify clients, ca-cert.pem (and ca-crl.pem). */
      readonly certificates: string;
      /** Only clients with a certificate of the CA are served. */
      readonly requireClientCertificate?: boolean;
    }
  | {
      readonly kind: 'psk';
      /** File of `username:hexkey` lines, as psktool writes it. */
      readonly pskFile: string;
    };

/** TLS options, read and checked before the server listens. */
export type TlsServerOptions = Readonly<TlsOptions>;

/**
 * Reads certificates or keys.
 * @throws NbdNegotiationError (NBD_TLS_FAILED) naming the file that is missing or unusable.
 */
export async function readServerTls(tls: ServerTls): Promise<TlsServerOptions> {
  const options = tls.kind === 'psk' ? await readKeys(tls.pskFile) : await readCertificates(tls);
  try {
    createSecureContext(options);
  } catch (cause) {
    const place = tls.kind === 'psk' ? tls.pskFile : tls.certificates;
    throw unusable(`${place} cannot be used for TLS: ${errorLine(cause)}`, cause);
  }
  return options;
}

async function readCertificates(tls: ServerTls & { kind: 'x509' }): Promise<TlsServerOptions> {
  const file = (name: string) => join(tls.certificates, name);
  const cert = await readCredential(file('server-cert.pem'));
  const key = await readCredential(file('server-key.pem'));
  const own = { cert, key, minVersion: 'TLSv1.2' } as const;
  if (!tls.requireClientCertificate) return own;
  const ca = await readCredential(file('ca-cert.pem'));
  const crl = await readOptional(file('ca-crl.pem'));
  return { ...own, ca, ...(crl && { crl }), requestCert: true, rejectUnauthorized: true };
}

async function readKeys(path: string): Promise<TlsServerOptions> {
  const keys = new Map<string, Buffer>();
  for (const line of (await readCredential(path)).toString('utf8').split('\n')) {
    const match = /^([^:#]+):((?:[0-9A-Fa-f]{2})+)$/.exec(line.trim());
    if (match) keys.set(match[1]!, Buffer.from(match[2]!, 'hex'));
  }
  if (keys.size === 0) throw unusable(`${path} has no key: expected lines USER:HEXKEY`);
  return {
    pskCallback: (_socket, identity) => keys.get(identity) ?? null,
    ciphers: PSK_CIPHERS,
    minVersion: 'TLSv1.2',
  };
}

async function readCredential(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw unusable(`cannot read ${path}: ${errorLine(cause)}`, cause);
  }
}

async function readOptional(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw unusable(`cannot read ${path}: ${errorLine(cause)}`, cause);
  }
}

function unusable(message: string, cause?: unknown): NbdNegotiationError {
  return new NbdNegotiationError('NBD_TLS_FAILED', message, {
    cause,
    hint: 'x509 needs a folder with server-cert.pem and server-key.pem (ca-cert.pem to verify clients); PSK a file of USER:HEXKEY lines',
  });
}

/**
 * Server's side of the TLS handshake on a connected socket. Rejects when it fails, or when the client's
 * certificate does not verify; the socket is then useless.
 */
export function acceptTls(socket: Socket, options: TlsServerOptions): Promise<TLSSocket> {
  // Only a tls.Server checks the client's certificate; a bare TLSSocket lets everybody in.
  const server = createServer(options);
  return new Promise((resolve, reject) => {
    server.once('secureConnection', secured => {
      secured.on('error', reject); // from here an error is never without a listener
      if (options.requestCert && !secured.authorized) secured.destroy(secured.authorizationError);
      else resolve(secured);
    });
    server.once('tlsClientError', (error, failed) => {
      reject(failed.authorizationError ?? error);
    });
    socket.once('close', () => reject(new Error('the client closed the connection')));
    server.emit('connection', socket);
  });
}
