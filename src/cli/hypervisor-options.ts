import { type Command, InvalidArgumentError } from 'commander';
import type { GuestBackupOptions } from '../operations/guest/guest-backup-options.js';
import { secondsAsMs, sizeInBytes } from './arguments/numbers.js';

/** Options of every command that talks to a hypervisor. */
export interface HypervisorOptions {
  readonly connect?: string;
  readonly scratch?: string;
  readonly scratchReserve?: number;
  readonly socketDir?: string;
  readonly listen?: { readonly host: string; readonly port: number };
  readonly tlsCertificates?: string;
  readonly secret?: string;
  readonly imageFormat?: string;
  readonly allowIoThreads?: boolean;
  readonly stateDir?: string;
}

/** How help explains the argument that names a guest. */
export const SOURCE_HELP =
  'libvirt:DOMAIN, qmp:SOCKET (plain QEMU or qemu-storage-daemon), or image:PATH of a guest that is off';

/** Adds what says how to reach the hypervisor. */
export function withHypervisor(command: Command): Command {
  return command
    .option('--connect <uri>', "libvirt's connection URI, e.g. qemu+ssh://root@host/system")
    .option('--secret <file>', 'file with the passphrase of a LUKS image')
    .option('--image-format <format>', 'of image: sources, e.g. raw (default: what the file looks like)')
    .option(
      '--state-dir <folder>',
      'where running jobs are remembered (default: nbdelta in $XDG_STATE_HOME)',
    );
}

/** Adds what says how a job is begun. */
export function withJob(command: Command): Command {
  return withHypervisor(command)
    .option('--disk <disk>', 'only this disk; may be given more than once', collect)
    .option('--exclude <disk>', 'not this disk; may be given more than once', collect)
    .option('--scratch <folder>', 'where the hypervisor keeps what the guest overwrites (default: /var/tmp)')
    .option(
      '--scratch-reserve <size>',
      'end the job when less space than this is left there (default: 256M)',
      sizeInBytes,
    )
    .option('--socket-dir <folder>', 'where private folders for NBD sockets are made')
    .option('--listen <tcp:host:port>', 'read over TCP with TLS instead of a unix socket', listenOverTcp)
    .option('--tls-certificates <folder>', 'ca-cert.pem, client-cert.pem and client-key.pem, for --listen')
    .option('--allow-io-threads', 'read disks in I/O threads even where this QEMU may crash of it')
    .option('--quiesce', "freeze the guest's file systems while the job begins (guest agent)")
    .option('--quiesce-timeout <seconds>', 'how long the agent may take (default: 30)', secondsAsMs)
    .option('--mountpoint <path>', 'freeze only this one; may be given more than once', collect);
}

export interface JobOptions extends HypervisorOptions {
  readonly disk?: readonly string[];
  readonly exclude?: readonly string[];
  readonly quiesce?: boolean;
  readonly quiesceTimeout?: number;
  readonly mountpoint?: readonly string[];
}

/** As the operations take them. */
export function hypervisorOptions(options: HypervisorOptions) {
  const {
    connect,
    scratch,
    scratchReserve,
    socketDir,
    listen,
    tlsCertificates,
    secret,
    imageFormat,
    allowIoThreads,
    stateDir,
  } = options;
  return {
    ...{ connect, scratch, scratchReserve, socketDir, listen, tlsCertificates, stateDir },
    ...{ secretFile: secret, imageFormat, allowIoThreads },
  };
}

/** Longest wait for the guest agent when nothing is said. */
const QUIESCE_TIMEOUT_MS = 30_000;

export function jobOptions(options: JobOptions) {
  const { disk, exclude, quiesce, quiesceTimeout, mountpoint } = options;
  const request: GuestBackupOptions['quiesce'] = {
    timeoutMs: quiesceTimeout ?? QUIESCE_TIMEOUT_MS,
    mountpoints: mountpoint,
  };
  return { ...hypervisorOptions(options), include: disk, exclude, quiesce: quiesce ? request : undefined };
}

function collect(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}

function listenOverTcp(text: string): { readonly host: string; readonly port: number } {
  const [, six, host, digits] = /^tcp:(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text) ?? [];
  const port = Number(digits);
  if (digits !== undefined && port >= 1 && port <= 65_535) return { host: six ?? host!, port };
  throw new InvalidArgumentError('expected tcp:HOST:PORT, e.g. tcp:10.0.0.5:10809');
}
