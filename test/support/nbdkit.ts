import { join } from 'node:path';
import type { NbdAddress, NbdServerHandle, ServerTls } from './nbd-server-handle.js';
import { startProcess } from './processes.js';
import { addressGreets, startServer } from './server-lifetime.js';

export interface NbdkitOptions {
  /** Plugin and its parameters: `['memory', '1M']`, `['pattern', 'size=4M']`, `['file', path]`. */
  readonly plugin: readonly string[];
  /** Outermost first: `['blocksize-policy', 'error']`; their parameters go behind the plugin's. */
  readonly filters?: readonly string[];
  /** nbdkit's own options: `--no-sr`, `--mask-handshake=0`, `-o` (oldstyle). */
  readonly options?: readonly string[];
  /** "" by default; most plugins answer to any name. */
  readonly exportName?: string;
  readonly transport?: 'unix' | 'tcp';
  /** Demanded of every client (`--tls=require`). */
  readonly tls?: ServerTls;
}

function tlsArguments(tls: ServerTls | undefined): string[] {
  if (tls === undefined) return [];
  if (tls.kind === 'psk') return ['--tls=require', `--tls-psk=${join(tls.folder, 'keys.psk')}`];
  const verify = tls.verifyClient === true ? ['--tls-verify-peer'] : [];
  return ['--tls=require', `--tls-certificates=${tls.folder}`, ...verify];
}

function nbdkitArguments(options: NbdkitOptions, address: NbdAddress): string[] {
  return [
    ...['--foreground', '--exit-with-parent'],
    ...(address.kind === 'unix' ? ['-U', address.socket] : ['-i', '127.0.0.1', '-p', String(address.port)]),
    ...(options.exportName === undefined ? [] : ['-e', options.exportName]),
    ...(options.filters ?? []).map(filter => `--filter=${filter}`),
    ...tlsArguments(options.tls),
    ...(options.options ?? []),
    ...options.plugin,
  ];
}

/** Starts nbdkit: the server with a knob for every oddity of the protocol. */
export function startNbdkit(options: NbdkitOptions): Promise<NbdServerHandle> {
  return startServer({
    exportName: options.exportName ?? '',
    tls: options.tls !== undefined,
    ...(options.transport === undefined ? {} : { transport: options.transport }),
    start: address =>
      startProcess('nbdkit', nbdkitArguments(options, address), { ready: addressGreets(address) }),
  });
}
