import type { RunningProcess } from './processes.js';

/** How a test's server is reached. */
export type NbdAddress =
  | { readonly kind: 'unix'; readonly socket: string }
  | { readonly kind: 'tcp'; readonly port: number };

/** A real NBD server that a test started; `await using` stops it and removes its folder. */
export interface NbdServerHandle extends AsyncDisposable {
  readonly uri: string;
  readonly address: NbdAddress;
  readonly exportName: string;
  readonly process: RunningProcess;
  /** URI of another export of the same server. */
  uriOf(exportName: string): string;
}

/** TLS credentials as servers take them: folders in QEMU's layout, see certificates.ts. */
export type ServerTls =
  | { readonly kind: 'x509'; readonly folder: string; readonly verifyClient?: boolean }
  /** The folder holds `keys.psk`. */
  | { readonly kind: 'psk'; readonly folder: string };

/** NBD URI as the specification has it; a TCP server is always 127.0.0.1, for TLS its certified `localhost`. */
export function nbdUri(
  address: NbdAddress,
  exportName: string,
  options: { readonly tls?: boolean } = {},
): string {
  const scheme = options.tls === true ? 'nbds' : 'nbd';
  const name = encodeURIComponent(exportName);
  if (address.kind === 'unix')
    return `${scheme}+unix:///${name}?socket=${encodeURIComponent(address.socket)}`;
  return `${scheme}://${options.tls === true ? 'localhost' : '127.0.0.1'}:${address.port}/${name}`;
}
