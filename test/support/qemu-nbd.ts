import type { NbdAddress, NbdServerHandle, ServerTls } from './nbd-server-handle.js';
import { startProcess } from './processes.js';
import { addressGreets, startServer } from './server-lifetime.js';

export interface QemuNbdOptions {
  readonly image: string;
  readonly format: 'qcow2' | 'raw';
  /** Persistent bitmaps of the image to publish as `qemu:dirty-bitmap:NAME`. */
  readonly bitmaps?: readonly string[];
  /** "" by default, which is QEMU's default. */
  readonly exportName?: string;
  /** True by default: an enabled bitmap can only be published read-only. */
  readonly readOnly?: boolean;
  /** Clients at a time; 16 by default (QEMU's own default is 1). */
  readonly shared?: number;
  readonly allocationDepth?: boolean;
  readonly transport?: 'unix' | 'tcp';
  readonly tls?: ServerTls;
  readonly extra?: readonly string[];
  /** `qemu-nbd` by default. */
  readonly program?: string;
}

function tlsArguments(tls: ServerTls | undefined): string[] {
  if (tls === undefined) return [];
  const verify = tls.kind === 'x509' ? `,verify-peer=${tls.verifyClient === true ? 'on' : 'off'}` : '';
  const object = `tls-creds-${tls.kind},id=tls0,endpoint=server,dir=${tls.folder}${verify}`;
  return ['--object', object, '--tls-creds', 'tls0'];
}

function listenArguments(address: NbdAddress): string[] {
  return address.kind === 'unix' ? ['-k', address.socket] : ['-b', '127.0.0.1', '-p', String(address.port)];
}

function qemuNbdArguments(options: QemuNbdOptions, address: NbdAddress): string[] {
  return [
    ...['--persistent', '-e', String(options.shared ?? 16), '-f', options.format],
    ...(options.readOnly === false ? [] : ['-r']),
    ...['-x', options.exportName ?? ''],
    ...(options.bitmaps ?? []).flatMap(bitmap => ['-B', bitmap]),
    ...(options.allocationDepth === true ? ['-A'] : []),
    ...tlsArguments(options.tls),
    ...listenArguments(address),
    ...(options.extra ?? []),
    options.image,
  ];
}

/** Starts `qemu-nbd` on an image file. */
export function startQemuNbd(options: QemuNbdOptions): Promise<NbdServerHandle> {
  return startServer({
    exportName: options.exportName ?? '',
    tls: options.tls !== undefined,
    ...(options.transport === undefined ? {} : { transport: options.transport }),
    start: address =>
      startProcess(options.program ?? 'qemu-nbd', qemuNbdArguments(options, address), {
        ready: addressGreets(address),
      }),
  });
}
