import { X509Certificate } from 'node:crypto';
import { errorLine, HypervisorError } from '../../../errors.js';
import type { Finding } from '../../front-end.js';
import type { Host } from '../../host/host.js';
import type { DomainView } from './domain-view.js';
import { parseBackupTls, QEMU_CONF, readQemuConf } from './qemu-conf.js';

const MAX_FILE_BYTES = 1 << 20;
const SOON_MS = 14 * 24 * 3600 * 1000;

/** What reading over TCP needs; a remark only, unless `--listen` asks for it. */
export async function* examineTls({ connection }: DomainView): AsyncGenerator<Finding> {
  const isWanted = connection.options.listen !== undefined;
  const finding = await examineServer(connection.host);
  if (isWanted || finding.status === 'ok') yield finding;
  else yield { id: 'tls', status: 'info', text: `only --listen needs it: ${finding.text}` };
}

async function examineServer(host: Host): Promise<Finding> {
  const id = 'tls';
  try {
    const { folder, isVerified } = parseBackupTls(await readQemuConf(host));
    const fix = `put ca-cert.pem, server-cert.pem and server-key.pem there; the folder is backup_tls_x509_cert_dir in ${QEMU_CONF}`;
    for (const name of ['ca-cert.pem', 'server-key.pem']) {
      if (await host.exists(`${folder}/${name}`)) continue;
      return { id, status: 'problem', text: `there is no ${folder}/${name}`, fix };
    }
    const certificate = await readText(host, `${folder}/server-cert.pem`);
    if (certificate === undefined) {
      return { id, status: 'problem', text: `there is no ${folder}/server-cert.pem`, fix };
    }
    return judgeCertificate(`${folder}/server-cert.pem`, certificate, isVerified, new Date());
  } catch (error) {
    if (!(error instanceof HypervisorError)) throw error;
    const text = `QEMU's certificates cannot be looked at: ${errorLine(error)}`;
    return { id, status: 'warning', text, fix: error.hint ?? 'run as root' };
  }
}

async function readText(host: Host, path: string): Promise<string | undefined> {
  const bytes = await host.readFile(path, MAX_FILE_BYTES);
  return bytes === undefined ? undefined : Buffer.from(bytes).toString('utf8');
}

/** A server certificate in its file, on a day. */
export function judgeCertificate(path: string, pem: string, isVerified: boolean, now: Date): Finding {
  const id = 'tls';
  let end: Date;
  try {
    end = new Date(new X509Certificate(pem).validTo);
  } catch (error) {
    const text = `${path} holds no certificate: ${errorLine(error)}`;
    return { id, status: 'problem', text, fix: 'put a certificate in PEM there' };
  }
  const until = end.toISOString().slice(0, 10);
  if (end <= now) return { id, status: 'problem', text: `${path} expired on ${until}`, fix: 'renew it' };
  if (end.getTime() - now.getTime() < SOON_MS) {
    return { id, status: 'warning', text: `${path} expires on ${until}`, fix: 'renew it' };
  }
  if (isVerified)
    return { id, status: 'ok', text: `${path} is valid until ${until}; clients must have one as well` };
  const fix = `set backup_tls_x509_verify = 1 in ${QEMU_CONF}: without it anybody who reaches the port reads the disks`;
  return { id, status: 'warning', text: `${path} is valid until ${until}; clients need none`, fix };
}
