import { mkdir, writeFile } from 'node:fs/promises';
import { type RunningProcess, type RunResult, run, startProcess, waitFor } from '../processes.js';
import { type TempFolder, tempFolder } from '../temp-folder.js';

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
  readonly #namespace: RunningProcess;
  #daemon: RunningProcess | undefined;

  constructor(folder: TempFolder, namespace: RunningProcess) {
    this.folder = folder;
    this.#namespace = namespace;
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
    this.#daemon = await startProcess('nsenter', args, { ready });
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
    return run('nsenter', ['-m', '-t', String(this.#namespace.pid), command, ...args]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#daemon === undefined) await this.start();
    for (const name of (await this.virsh('list', '--name')).split('\n').filter(Boolean)) {
      await this.tryVirsh('destroy', name);
    }
    await this.stop();
    await this.#namespace.stop();
    await this.folder[Symbol.asyncDispose]();
  }
}

export async function startLibvirtd(options: LibvirtdOptions = {}): Promise<Libvirtd> {
  const folder = await tempFolder();
  for (const name of [...Object.values(FOLDERS), 'sock', 'etc/qemu', 'log/qemu']) {
    await mkdir(folder.file(name), { recursive: true });
  }
  await writeConfiguration(folder, options);
  const libvirtd = new Libvirtd(folder, await openNamespace(folder));
  await libvirtd.start();
  return libvirtd;
}

async function writeConfiguration(folder: TempFolder, { user = 'root', qemuConf = [] }: LibvirtdOptions) {
  const owner = user === 'root' ? ['dynamic_ownership = 0'] : ['dynamic_ownership = 1'];
  const qemu = [
    ...[`user = "${user}"`, `group = "${user}"`, ...owner, 'remember_owner = 0'],
    ...['security_driver = "none"', 'namespaces = []', 'cgroup_controllers = []'],
    ...['stdio_handler = "file"', ...qemuConf],
  ];
  await writeFile(folder.file('etc/qemu.conf'), `${qemu.join('\n')}\n`);
  const daemon = [
    ...[
      `unix_sock_dir = "${folder.file('sock')}"`,
      'unix_sock_group = "root"',
      'unix_sock_rw_perms = "0700"',
    ],
    ...['auth_unix_ro = "none"', 'auth_unix_rw = "none"', 'listen_tls = 0', 'listen_tcp = 0'],
    `log_outputs = "2:file:${folder.file('log/libvirtd.log')}"`,
  ];
  await writeFile(folder.file('etc/libvirtd.conf'), `${daemon.join('\n')}\n`);
}

/** A process that keeps the mount namespace, which every start of the daemon, and so every QEMU, shares. */
async function openNamespace(folder: TempFolder): Promise<RunningProcess> {
  const ready = folder.file('namespace.ready');
  const mounts = Object.entries(FOLDERS).map(
    ([path, name]) => `mkdir -p ${path} && mount --bind '${folder.file(name)}' ${path}`,
  );
  const script = `${mounts.join(' && ')} && touch '${ready}' && exec sleep infinity`;
  const process = await startProcess('unshare', ['-m', '--propagation', 'slave', 'sh', '-c', script], {
    ready: async () => (await run('test', ['-e', ready])).code === 0,
  });
  await waitFor(() => process.isRunning, 'the mount namespace');
  return process;
}
