import { chmod, cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { type RunningProcess, type RunResult, run, startProcess } from '../processes.js';
import { type TempFolder, tempFolder } from '../temp-folder.js';
import { lendCapabilities } from './capabilities-cache.js';
import { onlyNeededDrivers } from './drivers.js';
import { type MountNamespace, openMountNamespace } from './mount-namespace.js';

/** Debian compiles these into libvirtd; in a mount namespace of its own each is a folder of the test's. */
const FOLDERS = {
  '/etc/libvirt': 'etc',
  '/var/lib/libvirt': 'lib',
  '/var/log/libvirt': 'log',
  '/var/cache/libvirt': 'cache',
  '/run/libvirt': 'run',
} as const;

export interface LibvirtdOptions {
  /** As whom QEMU runs; default root. */
  readonly user?: string;
  /** Further lines of qemu.conf. */
  readonly qemuConf?: readonly string[];
}

/** A private libvirtd: no systemd, nothing of the machine's own libvirt, several at once. Needs root. */
export class Libvirtd implements AsyncDisposable {
  readonly folder: TempFolder;
  /** `qemu:///system?socket=…` */
  readonly uri: string;
  readonly #namespace: MountNamespace;
  readonly #environment: Readonly<Record<string, string>>;
  #daemon: RunningProcess | undefined;

  constructor(folder: TempFolder, namespace: MountNamespace, environment: Readonly<Record<string, string>>) {
    this.folder = folder;
    this.#namespace = namespace;
    this.#environment = environment;
    this.uri = `qemu:///system?socket=${folder.file('sock/libvirt-sock')}`;
  }

  /** Runs virsh against this daemon; throws its words when it fails. */
  async virsh(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.tryVirsh(...args);
    if (code === 0) return stdout;
    throw new Error(`virsh ${args.join(' ')}: ${stderr}`);
  }

  tryVirsh(...args: readonly string[]): Promise<RunResult> {
    return run('virsh', ['--quiet', '--connect', this.uri, ...args], { env: { LC_ALL: 'C' } });
  }

  async start(): Promise<void> {
    const config = ['-f', '/etc/libvirt/libvirtd.conf', '-p', this.folder.file('libvirtd.pid')];
    const args = ['-m', '-t', String(this.#namespace.pid), 'libvirtd', ...config];
    const ready = async () => (await this.tryVirsh('version')).code === 0;
    try {
      this.#daemon = await startProcess('nsenter', args, { ready, env: this.#environment });
    } catch (error) {
      // It says nothing on its standard error, and ends with 0 when one of its drivers can't start.
      throw new Error(`${await this.#complaints()} (${(error as Error).message.trim()})`, { cause: error });
    }
  }

  /** The errors in its log, the last first, in one line: the beginning of that is what a failed run ends with. */
  async #complaints(): Promise<string> {
    const log = await readFile(this.folder.file('log/libvirtd.log'), 'utf8').catch(String);
    const errors = [...log.matchAll(/: error : (.*)/g)].map(([, text]) => text);
    return errors.reverse().join('; ') || log;
  }

  /** Ends the daemon; its guests go on. */
  async stop(): Promise<void> {
    await this.#daemon?.stop();
    this.#daemon = undefined;
  }

  /** SIGKILL to the daemon; its guests go on. */
  async kill(): Promise<void> {
    await this.#daemon?.kill();
    this.#daemon = undefined;
  }

  /** Runs a program where the daemon's mounts are. */
  inNamespace(command: string, ...args: readonly string[]): Promise<RunResult> {
    return this.#namespace.run(command, args);
  }

  /** Nobody needs the guests any more: they go the short way, with everything else in the namespace. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await this.#namespace[Symbol.asyncDispose]();
    await this.folder[Symbol.asyncDispose]();
  }
}

export function startLibvirtd(options: LibvirtdOptions = {}): Promise<Libvirtd> {
  return openLibvirtd(options, ({ folder }) => lendCapabilities(folder, learnCapabilities));
}

async function openLibvirtd(
  options: LibvirtdOptions,
  prepare: (libvirtd: Libvirtd) => Promise<void>,
): Promise<Libvirtd> {
  const folder = await tempFolder();
  // A QEMU that is not root must get through to its images.
  await chmod(folder.path, 0o755);
  for (const name of [...Object.values(FOLDERS), 'sock', 'etc/qemu', 'log/qemu']) {
    await mkdir(folder.file(name), { recursive: true });
  }
  await writeConfiguration(folder, options);
  const mounts = Object.entries(FOLDERS).map(([path, name]) => [path, folder.file(name)]);
  const environment = await onlyNeededDrivers(folder.file('drivers'));
  const namespace = await openMountNamespace(Object.fromEntries(mounts));
  const libvirtd = new Libvirtd(folder, namespace, environment);
  try {
    await prepare(libvirtd);
    await libvirtd.start();
  } catch (error) {
    await libvirtd[Symbol.asyncDispose]();
    throw error;
  }
  return libvirtd;
}

async function learnCapabilities(into: string): Promise<void> {
  await using libvirtd = await openLibvirtd({}, async () => undefined);
  await cp(libvirtd.folder.file('cache/qemu/capabilities'), into, { recursive: true });
}

async function writeConfiguration(folder: TempFolder, options: LibvirtdOptions): Promise<void> {
  const { user = 'root', qemuConf = [] } = options;
  const qemu = [
    ...[`user = "${user}"`, `group = "${user}"`],
    ...[`dynamic_ownership = ${user === 'root' ? 0 : 1}`, 'remember_owner = 0'],
    ...['security_driver = "none"', 'namespaces = []', 'cgroup_controllers = []'],
    ...['stdio_handler = "file"', ...qemuConf],
  ];
  await writeFile(folder.file('etc/qemu.conf'), `${qemu.join('\n')}\n`);
  const daemon = [
    ...[`unix_sock_dir = "${folder.file('sock')}"`, 'unix_sock_group = "root"'],
    ...['unix_sock_rw_perms = "0700"', 'auth_unix_ro = "none"', 'auth_unix_rw = "none"'],
    ...['listen_tls = 0', 'listen_tcp = 0'],
    `log_outputs = "2:file:${folder.file('log/libvirtd.log')}"`,
  ];
  await writeFile(folder.file('etc/libvirtd.conf'), `${daemon.join('\n')}\n`);
}
