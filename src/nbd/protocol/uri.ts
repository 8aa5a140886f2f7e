import { UsageError } from '../../errors.js';
import { NBD_DEFAULT_PORT, NBD_MAX_STRING } from './constants.js';

/** Where a server listens. */
export type NbdAddress =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string };

/** TLS as a URI asks for it. Verified always: a server that cannot be verified is an error. */
export interface NbdTls {
  readonly kind: 'x509' | 'psk';
  /** Folder with ca-cert.pem and, for a client certificate, client-cert.pem and client-key.pem. */
  readonly certificates: string | undefined;
  /** File of `username:hexkey` lines. */
  readonly pskFile: string | undefined;
  /** PSK identity; the URI's user name. */
  readonly username: string | undefined;
  /** Name that the server's certificate must carry. */
  readonly hostname: string | undefined;
}

/** A parsed NBD URI (NetworkBlockDevice/nbd `doc/uri.md`). */
export interface NbdUri {
  readonly address: NbdAddress;
  readonly exportName: string;
  readonly tls: NbdTls | undefined;
  /** The URI as it was given. */
  readonly text: string;
}

const SCHEMES = {
  nbd: { unix: false, tls: false },
  nbds: { unix: false, tls: true },
  'nbd+unix': { unix: true, tls: false },
  'nbds+unix': { unix: true, tls: true },
} as const;

const PARAMETERS = [
  'socket',
  'tls-type',
  'tls-certificates',
  'tls-psk-file',
  'tls-hostname',
  'tls-username',
  'tls-verify-peer',
];

/** RFC 3986 appendix B, with the authority made explicit. */
const URI_PARTS = /^([A-Za-z][A-Za-z0-9+.-]*):\/\/([^/?#]*)([^?#]*)(?:\?([^#]*))?$/;

/**
 * Parses `nbd://HOST[:PORT]/EXPORT`, `nbds://…`, `nbd+unix:///EXPORT?socket=PATH` and `nbds+unix:///…`.
 * @throws UsageError (NBD_URI_INVALID) saying which part is wrong.
 */
export function parseNbdUri(text: string): NbdUri {
  const parts = URI_PARTS.exec(text);
  const scheme = parts?.[1]?.toLowerCase() as keyof typeof SCHEMES | undefined;
  if (!parts || !scheme || !Object.hasOwn(SCHEMES, scheme)) {
    throw invalid(text, 'expected nbd://, nbds://, nbd+unix:// or nbds+unix://');
  }
  const [, , authority = '', path = '', query = ''] = parts;
  const parameters = parseQuery(text, query);
  const { unix, tls } = SCHEMES[scheme];
  const { username, host, port } = parseAuthority(text, authority);
  const address = unix
    ? unixAddress(text, parameters.get('socket'), authority)
    : tcpAddress(text, parameters, host, port);
  return {
    address,
    exportName: parseExportName(text, path),
    tls: parseTls(text, tls, parameters, username, host),
    text,
  };
}

function invalid(text: string, why: string): UsageError {
  return new UsageError(`not a usable NBD URI: ${redactUri(text)}: ${why}`, {
    code: 'NBD_URI_INVALID',
    hint: 'write nbd://HOST[:PORT]/EXPORT or nbd+unix:///EXPORT?socket=/PATH/TO/SOCKET',
  });
}

function decode(text: string, part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw invalid(text, `"${part}" is not valid percent-encoding`);
  }
}

function parseQuery(text: string, query: string): Map<string, string> {
  const parameters = new Map<string, string>();
  for (const pair of query.split('&').filter(Boolean)) {
    const at = pair.indexOf('=');
    const key = decode(text, at < 0 ? pair : pair.slice(0, at));
    // Not form encoding: a "+" in a path is a plus (RFC 3986), not a space.
    const value = at < 0 ? '' : decode(text, pair.slice(at + 1));
    if (!PARAMETERS.includes(key) && !key.startsWith('x-')) {
      throw invalid(text, `unknown parameter "${key}" (known: ${PARAMETERS.join(', ')})`);
    }
    if (parameters.has(key)) throw invalid(text, `parameter "${key}" is given twice`);
    parameters.set(key, value);
  }
  return parameters;
}

/** The host is a name or `[IPv6]`; a zone comes behind "%25" (RFC 6874). */
const AUTHORITY = /^(?:([^@]*)@)?(\[[0-9A-Fa-f:.]+(?:%25[\w.~%-]+)?\]|[^:[\]]*)(?::(\d*))?$/;

function parseAuthority(text: string, authority: string) {
  const parts = AUTHORITY.exec(authority);
  if (!parts) throw invalid(text, `"${authority}" is not [USER@]HOST[:PORT]; write IPv6 as [::1]`);
  const [, user, rawHost = '', rawPort] = parts;
  const port = rawPort ? Number(rawPort) : NBD_DEFAULT_PORT;
  if (port < 1 || port > 65535) throw invalid(text, `port ${rawPort} is not between 1 and 65535`);
  const host = rawHost.startsWith('[') ? decode(text, rawHost.slice(1, -1)) : decode(text, rawHost);
  return { username: user ? decode(text, user) : undefined, host, port };
}

function tcpAddress(text: string, parameters: Map<string, string>, host: string, port: number): NbdAddress {
  if (parameters.has('socket')) throw invalid(text, 'a socket needs nbd+unix:// or nbds+unix://');
  return { kind: 'tcp', host: host || 'localhost', port };
}

function unixAddress(text: string, socket: string | undefined, authority: string): NbdAddress {
  if (!socket) throw invalid(text, 'a unix URI needs ?socket=PATH');
  if (authority.replace(/^[^@]*@/, '') !== '') throw invalid(text, `a unix URI has no host ("${authority}")`);
  return { kind: 'unix', path: socket };
}

function parseExportName(text: string, path: string): string {
  const name = decode(text, path.startsWith('/') ? path.slice(1) : path);
  if (name.includes('\0')) throw invalid(text, 'an export name has no NUL');
  if (Buffer.byteLength(name) > NBD_MAX_STRING) {
    throw invalid(text, `the export name is longer than ${NBD_MAX_STRING} bytes`);
  }
  return name;
}

function parseTls(
  text: string,
  wanted: boolean,
  parameters: Map<string, string>,
  user: string | undefined,
  host: string,
): NbdTls | undefined {
  const given = [...parameters.keys()].find(key => key.startsWith('tls-'));
  if (!wanted) {
    if (given) throw invalid(text, `"${given}" needs nbds:// or nbds+unix:// (plain nbd is never encrypted)`);
    return undefined;
  }
  if (!['1', undefined].includes(parameters.get('tls-verify-peer'))) {
    throw invalid(text, 'TLS without verification is not offered; give tls-certificates or tls-psk-file');
  }
  const pskFile = parameters.get('tls-psk-file');
  const certificates = parameters.get('tls-certificates');
  if (pskFile && certificates) throw invalid(text, 'give tls-certificates or tls-psk-file, not both');
  const kind = parameters.get('tls-type') ?? (pskFile ? 'psk' : 'x509');
  if (kind !== 'x509' && kind !== 'psk') throw invalid(text, `tls-type "${kind}" is not x509 or psk`);
  if (kind === 'psk' && !pskFile) throw invalid(text, 'tls-type=psk needs tls-psk-file=PATH');
  if (kind === 'x509' && pskFile) throw invalid(text, 'tls-psk-file does not go with tls-type=x509');
  const username = user ?? parameters.get('tls-username');
  const hostname = parameters.get('tls-hostname') ?? (host || undefined);
  return { kind, certificates, pskFile, username, hostname };
}

/** The URI without what it says of users; fit for messages, manifests and logs. */
export function redactUri(text: string): string {
  return text.replace(/^([A-Za-z+]+:\/\/)[^/?#]*@/, '$1');
}

/** A short name for messages: `vda at unix:/run/nbd.sock`. */
export function describeUri(uri: NbdUri): string {
  return `export "${uri.exportName}" at ${describeAddress(uri.address)}`;
}

/** `unix:/run/nbd.sock` or `host:10809`. */
export function describeAddress(address: NbdAddress): string {
  if (address.kind === 'unix') return `unix:${address.path.replaceAll('\0', '@')}`;
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

/** Writes a URI that {@link parseNbdUri} reads back to the same address and export. */
export function formatNbdUri(address: NbdAddress, exportName: string): string {
  const path = exportName.split('/').map(encodeURIComponent).join('/');
  if (address.kind === 'tcp') return `nbd://${describeAddress(address).replace('%', '%25')}/${path}`;
  const socket = address.path.split('/').map(encodeURIComponent).join('/');
  return `nbd+unix:///${path}?socket=${socket}`;
}
