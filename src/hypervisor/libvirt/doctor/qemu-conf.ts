/** Where libvirt's `qemu.conf` says that QEMU's TLS certificates for backups are. */
export interface BackupTls {
  readonly folder: string;
  /** Whether a client must have a certificate of its own. */
  readonly isVerified: boolean;
}

const DEFAULT_FOLDER = '/etc/pki/qemu';

/** Reads `qemu.conf`: lines `key = "text"` or `key = 1`; the last one counts. */
export function parseBackupTls(text: string): BackupTls {
  const settings = new Map(text.split('\n').flatMap(readLine));
  const folder = settings.get('backup_tls_x509_cert_dir') ?? settings.get('default_tls_x509_cert_dir');
  const verify = settings.get('backup_tls_x509_verify') ?? settings.get('default_tls_x509_verify');
  // Since libvirt 5.0 verifying is what happens when nothing is said.
  return { folder: folder ?? DEFAULT_FOLDER, isVerified: verify !== '0' };
}

function readLine(line: string): readonly (readonly [string, string])[] {
  const [, key, quoted, bare] = /^\s*(\w+)\s*=\s*(?:"([^"]*)"|(\S+))\s*(?:#.*)?$/.exec(line) ?? [];
  return key === undefined ? [] : [[key, quoted ?? bare ?? '']];
}
