import { type RunningProcess, startProcess, waitFor } from './processes.js';
import { beginPullBackup, type PullBackup, type PullBackupOptions } from './pull-backup.js';
import { TestQmp } from './qmp.js';
import { type TempFolder, tempFolder } from './temp-folder.js';

export interface GuestDisk {
  /** Target name: `vda`. */
  readonly name: string;
  /** A qcow2 file. */
  readonly image: string;
}

export interface QemuSystemOptions {
  readonly disks: readonly GuestDisk[];
  readonly extra?: readonly string[];
}

/** Node name of a disk in QEMU. */
export function diskNode(disk: string): string {
  return `disk-${disk}`;
}

function diskArguments({ name, image }: GuestDisk): string[] {
  const node = `driver=qcow2,node-name=${diskNode(name)},discard=unmap,file.driver=file,file.filename=${image}`;
  return ['-blockdev', node, '-device', `virtio-blk-pci,drive=${diskNode(name)},id=dev-${name}`];
}

/** A stopped virtual machine (`-S`, no KVM) with real disks, whose guest is played by qemu-io. */
export class QemuSystem implements AsyncDisposable {
  readonly process: RunningProcess;
  readonly qmp: TestQmp;
  /** A second QMP socket, for the product to connect to. */
  readonly qmpSocket: string;
  readonly folder: TempFolder;
  readonly disks: readonly GuestDisk[];

  constructor(machine: Pick<QemuSystem, 'process' | 'qmp' | 'qmpSocket' | 'folder' | 'disks'>) {
    this.process = machine.process;
    this.qmp = machine.qmp;
    this.qmpSocket = machine.qmpSocket;
    this.folder = machine.folder;
    this.disks = machine.disks;
  }

  /**
   * Runs a qemu-io command as the guest: through the device, so that copy-before-write sees it. Throws when
   * it failed. QEMU prints qemu-io's answer on its own standard output.
   */
  async qemuIo(command: string, disk = this.disks[0]!.name): Promise<void> {
    const before = this.process.stdout.length;
    const line = `qemu-io -d /machine/peripheral/dev-${disk}/virtio-backend "${command}"`;
    const complaint = await this.qmp.execute('human-monitor-command', { 'command-line': line });
    if (complaint !== '') throw new Error(`qemu-io ${command}: ${String(complaint)}`);
    if (command.startsWith('flush')) return;
    const answer = (): string => this.process.stdout.slice(before);
    await waitFor(() => answer().includes('\n'), `an answer to qemu-io ${command}`);
    if (!/^(wrote|read|discard) /m.test(answer()) || /fail/i.test(answer())) {
      throw new Error(`qemu-io ${command}: ${answer()}`);
    }
  }

  /** Starts a pull-mode backup of all disks: what libvirt's backup-begin does. */
  beginPullBackup(options: PullBackupOptions): Promise<PullBackup> {
    return beginPullBackup(this, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.qmp[Symbol.asyncDispose]();
    await this.process.stop();
    await this.folder[Symbol.asyncDispose]();
  }
}

async function startMachine(options: QemuSystemOptions, folder: TempFolder): Promise<QemuSystem> {
  const [own, product] = [folder.file('own.qmp'), folder.file('qmp.sock')];
  const args = [
    // Unbuffered lines: qemu-io's answers are read from standard output.
    ...['-oL', 'qemu-system-x86_64', '-S', '-accel', 'tcg', '-machine', 'q35', '-m', '64'],
    ...['-nodefaults', '-display', 'none', ...options.disks.flatMap(diskArguments)],
    ...['-qmp', `unix:${own},server=on,wait=off`, '-qmp', `unix:${product},server=on,wait=off`],
    ...(options.extra ?? []),
  ];
  let qmp: TestQmp | undefined;
  const isAnswering = async (): Promise<boolean> => {
    qmp = await TestQmp.open(own).catch(() => undefined); // not listening yet
    return qmp !== undefined;
  };
  const process = await startProcess('stdbuf', args, { ready: isAnswering });
  return new QemuSystem({ process, qmp: qmp!, qmpSocket: product, folder, disks: options.disks });
}

export async function startQemuSystem(options: QemuSystemOptions): Promise<QemuSystem> {
  const folder = await tempFolder();
  try {
    return await startMachine(options, folder);
  } catch (error) {
    await folder[Symbol.asyncDispose]();
    throw error;
  }
}
