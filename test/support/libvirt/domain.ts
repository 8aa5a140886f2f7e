import { readFile, writeFile } from 'node:fs/promises';
import { waitFor } from '../processes.js';
import { type DomainDescription, type DomainDisk, diskXml, domainXml } from './domain-xml.js';
import type { Libvirtd } from './libvirtd.js';

interface BlockNode {
  readonly drv: string;
  readonly file: string;
  readonly 'dirty-bitmaps'?: readonly { readonly name?: string }[];
}

/** A defined domain, and QEMU behind it. */
export class Domain {
  readonly name: string;
  readonly libvirtd: Libvirtd;
  readonly #isPaused: boolean;
  #disks: readonly DomainDisk[];

  constructor(libvirtd: Libvirtd, { name, disks, boot }: DomainDescription) {
    this.libvirtd = libvirtd;
    this.name = name;
    this.#disks = disks;
    this.#isPaused = boot === undefined;
  }

  /** Those attached by {@link attach} too. */
  get disks(): readonly DomainDisk[] {
    return this.#disks;
  }

  /** One without anything to boot is started paused: its guest is played by {@link qemuIo}. */
  async start(): Promise<void> {
    await this.libvirtd.virsh('start', ...(this.#isPaused ? ['--paused'] : []), this.name);
  }

  /** Ends QEMU as libvirt does: bitmaps are stored. */
  async destroy(): Promise<void> {
    await this.libvirtd.virsh('destroy', '--graceful', this.name);
  }

  /** Asks the guest's agent to shut down and waits until it is off. */
  async shutdown(): Promise<void> {
    await this.libvirtd.virsh('shutdown', this.name, '--mode', 'agent');
    await this.isOff();
  }

  /** SIGKILL to QEMU; returns when libvirt has noticed. */
  async killQemu(): Promise<void> {
    process.kill(await this.qemuPid(), 'SIGKILL');
    await this.isOff();
  }

  async qemuPid(): Promise<number> {
    return Number(await readFile(this.libvirtd.folder.file(`run/qemu/${this.name}.pid`), 'latin1'));
  }

  /** Resolves when libvirt says that it is shut off. */
  isOff(): Promise<void> {
    const isOff = async () => (await this.libvirtd.virsh('domstate', this.name)).startsWith('shut off');
    return waitFor(isOff, `the end of ${this.name}`);
  }

  /** A qemu-io command as the guest, through the device, so that copy-before-write sees it. */
  async qemuIo(target: string, command: string): Promise<void> {
    const line = `qemu-io -d /machine/peripheral/${alias(target)}/virtio-backend "${command}"`;
    const before = (await this.#log()).length;
    const complaint = await this.libvirtd.virsh('qemu-monitor-command', this.name, '--hmp', line);
    // The monitor only complains of a wrong device; what became of the command, QEMU says on its standard output.
    const said = (await this.#log()).slice(before);
    const isDone = command.startsWith('flush') || /^(wrote|read|discard) (\d+)\/\2 bytes/m.test(said);
    if (complaint.trim() === '' && isDone && !/fail/i.test(said)) return;
    throw new Error(`qemu-io ${command}: ${complaint}${said}`);
  }

  /** What QEMU has written to its standard output. */
  #log(): Promise<string> {
    return readFile(this.libvirtd.folder.file(`log/qemu/${this.name}.log`), 'latin1');
  }

  fill(target: string, offset: number, length: number, byte: number): Promise<void> {
    return this.qemuIo(target, `write -P ${byte} ${offset} ${length}`);
  }

  /** What QMP answers. */
  async qmp(execute: string, options: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
    const text = JSON.stringify({ execute, arguments: options });
    const answer = JSON.parse(await this.libvirtd.virsh('qemu-monitor-command', this.name, text));
    if ('error' in answer) throw new Error(`${execute}: ${JSON.stringify(answer.error)}`);
    return answer.return;
  }

  resize(target: string, size: number): Promise<string> {
    return this.libvirtd.virsh('blockresize', this.name, target, `${size}B`);
  }

  /** Plugs a disk in, now and for every later start. */
  async attach(disk: DomainDisk): Promise<void> {
    const file = this.libvirtd.folder.file(`${this.name}-${disk.target}.xml`);
    await writeFile(file, diskXml(disk));
    await this.libvirtd.virsh('attach-device', this.name, file, '--live', '--config');
    this.#disks = [...this.#disks, disk];
  }

  /** Takes a disk out of the definition; a guest that runs must let it go first. */
  async detach(target: string): Promise<void> {
    await this.libvirtd.virsh('detach-disk', this.name, target, '--live', '--config');
    const isGone = async () => !(await this.#targets()).includes(target);
    await waitFor(isGone, `disk ${target} of ${this.name} to be unplugged`);
    this.#disks = this.#disks.filter(disk => disk.target !== target);
  }

  /** Names of libvirt's checkpoints. */
  async checkpoints(): Promise<readonly string[]> {
    const text = await this.libvirtd.virsh('checkpoint-list', this.name, '--name');
    return text.split('\n').filter(Boolean);
  }

  /** Names of the bitmaps of each disk, as QEMU has them now. */
  async bitmaps(): Promise<Readonly<Record<string, readonly string[]>>> {
    const nodes = (await this.qmp('query-named-block-nodes', { flat: true })) as readonly BlockNode[];
    const names = ({ image }: DomainDisk) => {
      const node = nodes.find(each => each.file === image && each.drv === 'qcow2');
      return (node?.['dirty-bitmaps'] ?? []).flatMap(({ name }) => name ?? []);
    };
    return Object.fromEntries(this.disks.map(disk => [disk.target, names(disk)]));
  }

  async #targets(): Promise<readonly string[]> {
    const lines = (await this.libvirtd.virsh('domblklist', this.name)).split('\n');
    return lines.map(line => line.trim().split(/\s+/)[0] ?? '');
  }
}

/** What libvirt calls the device: virtio-disk0 is vda, whatever the order. */
function alias(target: string): string {
  if (!/^vd[a-z]$/.test(target)) throw new Error(`${target} is not a virtio disk`);
  return `virtio-disk${target.charCodeAt(2) - 'a'.charCodeAt(0)}`;
}

/** Defines a domain; it is not started. */
export async function defineDomain(libvirtd: Libvirtd, description: DomainDescription): Promise<Domain> {
  const file = libvirtd.folder.file(`${description.name}.xml`);
  await writeFile(file, domainXml(description));
  await libvirtd.virsh('define', file);
  return new Domain(libvirtd, description);
}
