import { HypervisorError } from '../../../errors.js';
import type { Host } from '../../host/host.js';

export const QEMU_CONF = '/etc/libvirt/qemu.conf';
const MAX_BYTES = 1 << 20;

/** Its text; empty when there is none: then everything is as libvirt was built. @throws HypervisorError. */
export async function readQemuConf(host: Host): Promise<string> {
  const bytes = await host.readFile(QEMU_CONF, MAX_BYTES);
  return bytes === undefined ? '' : Buffer.from(bytes).toString('utf8');
}

/** Whether libvirt gives files to QEMU's user; `undefined`: only root may know. */
export async function readOwnershipDynamic(host: Host): Promise<boolean | undefined> {
  try {
    return parseOwnershipDynamic(await readQemuConf(host));
  } catch (error) {
    if (error instanceof HypervisorError && error.code === 'HYPERVISOR_DENIED') return undefined;
    throw error;
  }
}

/** Where libvirt's `qemu.conf` says that QEMU's TLS certificates for backups are. */
export interface BackupTls {
  readonly folder: string;
  /** Whether a client must have a certificate of its own. */
  readonly isVerified: boolean;
}

const DEFAULT_FOLDER = '/etc/pki/qemu';

/** Reads `qemu.conf`: lines `key = "text"` or `key = 1`; the last one counts. */
export function parseBackupTls(text: string): BackupTls {
  const settings = readSettings(text);
  const folder = settings.get('backup_tls_x509_cert_dir') ?? settings.get('default_tls_x509_cert_dir');
  const verify = settings.get('backup_tls_x509_verify') ?? settings.get('default_tls_x509_verify');
  // Since libvirt 5.0 verifying is what happens when nothing is said.
  return { folder: folder ?? DEFAULT_FOLDER, isVerified: verify !== '0' };
}

/** Reads `qemu.conf`: without it, scratch files are root's, and an unprivileged QEMU cannot open them. */
export function parseOwnershipDynamic(text: string): boolean {
  return readSettings(text).get('dynamic_ownership') !== '0';
}

function readSettings(text: string): ReadonlyMap<string, string> {
  return new Map(text.split('\n').flatMap(readLine));
}

function readLine(line: string): readonly (readonly [string, string])[] {
  const [, key, quoted, bare] = /^\s*(\w+)\s*=\s*(?:"([^"]*)"|(\S+))\s*(?:#.*)?$/.exec(line) ?? [];
  return key === undefined ? [] : [[key, quoted ?? bare ?? '']];
}
