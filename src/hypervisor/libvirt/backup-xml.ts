import { findRunName } from '../run-name.js';
import {
  append,
  appendCopy,
  attribute,
  childElements,
  descend,
  formatXml,
  newRoot,
  parseXml,
} from './xml-document.js';

/** Where libvirt has QEMU's NBD server listen. */
export type JobServer =
  | { readonly kind: 'unix'; readonly socket: string }
  /** With TLS always. */
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number };

export interface ScratchPlace {
  readonly path: string;
  readonly isDevice: boolean;
}

/** One disk of the job that is to be begun. */
export interface JobDisk {
  readonly name: string;
  /** The checkpoint that its bitmap records since; `null`: everything is read. */
  readonly since: string | null;
  /** Whether the new checkpoint gets a bitmap on it. */
  readonly hasCheckpoint: boolean;
  readonly scratch: ScratchPlace;
  /** The disk's own `<encryption>`: what the guest overwrites must not lie in clear. */
  readonly encryption: string | undefined;
}

/** `<domainbackup>`: `others` are the domain's disks that stay out; unnamed ones would be libvirt's to decide. */
export function formatBackup(
  server: JobServer,
  disks: readonly JobDisk[],
  others: readonly string[],
): string {
  const root = newRoot('domainbackup', { mode: 'pull' });
  append(
    root,
    'server',
    server.kind === 'unix'
      ? { transport: 'unix', socket: server.socket }
      : { transport: 'tcp', tls: 'yes', name: server.host, port: String(server.port) },
  );
  const list = append(root, 'disks');
  for (const { name, since, scratch, encryption } of disks) {
    const disk = append(list, 'disk', {
      name,
      backup: 'yes',
      type: scratch.isDevice ? 'block' : 'file',
      backupmode: since === null ? 'full' : 'incremental',
      incremental: since ?? undefined,
    });
    append(disk, 'driver', { type: 'qcow2' });
    const store = append(disk, 'scratch', { [scratch.isDevice ? 'dev' : 'file']: scratch.path });
    if (encryption !== undefined)
      appendCopy(store, parseXml(encryption, 'encryption', "a disk's encryption"));
  }
  for (const name of others) append(list, 'disk', { name, backup: 'no' });
  return formatXml(root);
}

/** `<domaincheckpoint>`; every disk is named, for the same reason. */
export function formatCheckpoint(name: string, disks: readonly JobDisk[], others: readonly string[]): string {
  const root = newRoot('domaincheckpoint');
  append(root, 'name', {}, name);
  const list = append(root, 'disks');
  for (const disk of disks) {
    append(list, 'disk', { name: disk.name, checkpoint: disk.hasCheckpoint ? 'bitmap' : 'no' });
  }
  for (const other of others) append(list, 'disk', { name: other, checkpoint: 'no' });
  return formatXml(root);
}

/** A job as libvirt describes it. */
export interface RunningBackup {
  readonly mode: string;
  /** `undefined`: it does not pull. */
  readonly server: JobServer | undefined;
  readonly disks: readonly RunningDisk[];
  /** Names of nbdelta's runs that its socket and scratch files carry. */
  readonly runs: readonly string[];
}

export interface RunningDisk {
  readonly name: string;
  /** Missing after a restart of libvirtd (9.0). */
  readonly exportName: string | undefined;
  readonly exportBitmap: string | undefined;
  readonly scratch: string | undefined;
}

/** Reads `virsh backup-dumpxml`. */
export function parseBackup(xml: string): RunningBackup {
  const root = parseXml(xml, 'domainbackup', "the backup job's description");
  const server = descend(root, 'server');
  const socket = attribute(server, 'socket');
  const [host, port] = [attribute(server, 'name'), attribute(server, 'port')];
  const disks = childElements(descend(root, 'disks'), 'disk').filter(
    disk => attribute(disk, 'backup') !== 'no',
  );
  const running = disks.map(disk => {
    const scratch = descend(disk, 'scratch');
    return {
      name: attribute(disk, 'name') ?? '',
      exportName: attribute(disk, 'exportname'),
      exportBitmap: attribute(disk, 'exportbitmap'),
      scratch: attribute(scratch, 'file') ?? attribute(scratch, 'dev'),
    };
  });
  return {
    mode: attribute(root, 'mode') ?? 'push',
    server: socket ? { kind: 'unix', socket } : tcpServer(host, port),
    disks: running,
    runs: runsIn([socket, ...running.map(disk => disk.scratch)]),
  };
}

function tcpServer(host: string | undefined, port: string | undefined): JobServer | undefined {
  return host === undefined ? undefined : { kind: 'tcp', host, port: Number(port ?? '10809') };
}

/** Runs named by a part of one of the paths. */
function runsIn(paths: readonly (string | undefined)[]): readonly string[] {
  const names = paths.flatMap(path => (path ?? '').split('/')).map(part => findRunName(part)?.text);
  return [...new Set(names.filter(name => name !== undefined))];
}
