import { randomBytes } from 'node:crypto';
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runOk } from './processes.js';
import type { TempFolder } from './temp-folder.js';

/**
 * Folders in the layout that QEMU, nbdkit and libnbd read: `ca-cert.pem`, and `server-cert.pem` +
 * `server-key.pem` or `client-cert.pem` + `client-key.pem`.
 */
export interface Certificates {
  /** For localhost and 127.0.0.1, signed by our CA. */
  readonly server: string;
  /** Signed by our CA, for another host. */
  readonly wrongHostServer: string;
  /** For localhost, signed by our CA, expired. QEMU refuses to load it. */
  readonly expiredServer: string;
  /** Trusts our CA, has a certificate signed by it. */
  readonly client: string;
  /** Trusts our CA, has a certificate of another CA. */
  readonly strangerClient: string;
  /** Trusts our CA, has no certificate. */
  readonly anonymousClient: string;
  /** Trusts another CA only. */
  readonly distrustfulClient: string;
}

const KEY_USAGE = 'keyUsage=digitalSignature,keyEncipherment';
const LOCALHOST = 'subjectAltName=DNS:localhost,IP:127.0.0.1';
const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

class CertificateMaker {
  readonly #folder: TempFolder;

  constructor(folder: TempFolder) {
    this.#folder = folder;
  }

  async authority(name: string): Promise<void> {
    const file = (suffix: string): string => this.#folder.file(`${name}.${suffix}`);
    const extensions = ['basicConstraints=critical,CA:TRUE', 'keyUsage=critical,keyCertSign'];
    await runOk('openssl', [
      ...['req', '-x509', ...NEW_KEY, '-keyout', file('key'), '-out', file('crt'), '-days', '30'],
      ...['-subj', `/CN=${name}`, ...extensions.flatMap(extension => ['-addext', extension])],
    ]);
  }

  /** Makes `<name>.crt` and `<name>.key`. */
  async sign(name: string, authority: string, extensions: readonly string[], days = 30): Promise<void> {
    const file = (suffix: string): string => this.#folder.file(`${name}.${suffix}`);
    const request = ['-keyout', file('key'), '-out', file('csr'), '-subj', `/CN=${name}`];
    await runOk('openssl', ['req', ...NEW_KEY, ...request]);
    await writeFile(file('ext'), `${[...extensions, KEY_USAGE].join('\n')}\n`);
    const ca = ['crt', 'key'].map(suffix => this.#folder.file(`${authority}.${suffix}`));
    await runOk('openssl', [
      ...['x509', '-req', '-in', file('csr'), '-CA', ca[0]!, '-CAkey', ca[1]!],
      ...['-set_serial', `0x${randomBytes(8).toString('hex')}`, '-days', String(days)],
      ...['-extfile', file('ext'), '-out', file('crt')],
    ]);
  }

  /** A folder with a CA's certificate and, when `own` is given, a certificate with its key. */
  async lay(folder: string, ca: string, role: 'server' | 'client', own?: string): Promise<string> {
    const path = this.#folder.file(folder);
    await mkdir(path);
    await copyFile(this.#folder.file(`${ca}.crt`), join(path, 'ca-cert.pem'));
    if (own !== undefined) {
      await copyFile(this.#folder.file(`${own}.crt`), join(path, `${role}-cert.pem`));
      await copyFile(this.#folder.file(`${own}.key`), join(path, `${role}-key.pem`));
    }
    return path;
  }
}

/** Makes every certificate that the TLS tests need, with openssl, below `folder`. Takes about a second. */
export async function makeCertificates(folder: TempFolder): Promise<Certificates> {
  const maker = new CertificateMaker(folder);
  await Promise.all([maker.authority('ca'), maker.authority('other-ca')]);
  const [serverAuth, clientAuth] = ['extendedKeyUsage=serverAuth', 'extendedKeyUsage=clientAuth'];
  await maker.sign('localhost', 'ca', [LOCALHOST, serverAuth]);
  await maker.sign('elsewhere', 'ca', ['subjectAltName=DNS:elsewhere.example', serverAuth]);
  await maker.sign('expired', 'ca', [LOCALHOST, serverAuth], -1);
  await maker.sign('client', 'ca', [clientAuth]);
  await maker.sign('stranger', 'other-ca', [clientAuth]);
  return {
    server: await maker.lay('server', 'ca', 'server', 'localhost'),
    wrongHostServer: await maker.lay('wrong-host', 'ca', 'server', 'elsewhere'),
    expiredServer: await maker.lay('expired-server', 'ca', 'server', 'expired'),
    client: await maker.lay('friend', 'ca', 'client', 'client'),
    strangerClient: await maker.lay('foreigner', 'ca', 'client', 'stranger'),
    anonymousClient: await maker.lay('anonymous', 'ca', 'client'),
    distrustfulClient: await maker.lay('distrustful', 'other-ca', 'client', 'client'),
  };
}

export interface PskKeys {
  readonly user: string;
  /** The key, as psktool writes it. */
  readonly keyHex: string;
  /** Folder with `keys.psk`: what QEMU's `dir=` takes. */
  readonly folder: string;
  /** `keys.psk` itself: what nbdkit and libnbd take. */
  readonly file: string;
}

/** A pre-shared key in psktool's format: one line `alice:HEX`. */
export async function makePskKeys(folder: TempFolder, user = 'alice'): Promise<PskKeys> {
  const path = folder.file(`psk-${user}`);
  await mkdir(path);
  const keyHex = randomBytes(32).toString('hex');
  const file = join(path, 'keys.psk');
  await writeFile(file, `${user}:${keyHex}\n`, { mode: 0o600 });
  return { user, keyHex, folder: path, file };
}
