import { readFile } from 'node:fs/promises';
import { runOk, waitFor } from '../processes.js';
import type { Libvirtd } from './libvirtd.js';

export interface DomainDisk {
  readonly target: string;
  readonly image: string;
  readonly format: 'qcow2' | 'raw';
}

export interface PausedDomainOptions {
  readonly name: string;
  readonly uuid?: string;
  readonly disks: readonly DomainDisk[];
  /** XML to put among the devices. */
  readonly devices?: string;
}

function diskXml({ target, image, format }: DomainDisk): string {
  return `<disk type='file' device='disk'>
    <driver name='qemu' type='${format}' discard='unmap'/>
    <source file='${image}'/><target dev='${target}' bus='virtio'/></disk>`;
}

/** A domain without an operating system: started paused, its guest is played by qemu-io through QEMU's monitor. */
export class PausedDomain {
  readonly name: string;
  readonly libvirtd: Libvirtd;
  readonly disks: readonly DomainDisk[];

  constructor(libvirtd: Libvirtd, { name, disks }: PausedDomainOptions) {
    this.libvirtd = libvirtd;
    this.name = name;
    this.disks = disks;
  }

  start(): Promise<string> {
    return this.libvirtd.virsh('start', '--paused', this.name);
  }

  /** Ends QEMU as libvirt does: bitmaps are stored. */
  destroy(): Promise<string> {
    return this.libvirtd.virsh('destroy', '--graceful', this.name);
  }

  /** A qemu-io command as the guest, through the device, so that copy-before-write sees it. */
  async qemuIo(target: string, command: string): Promise<void> {
    const line = `qemu-io -d ${await this.#device(target)} "${command}"`;
    const complaint = await this.libvirtd.virsh('qemu-monitor-command', this.name, '--hmp', line);
    if (/fail|error|not found|denied/i.test(complaint)) throw new Error(`qemu-io ${command}: ${complaint}`);
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

  /** SIGKILL to QEMU; returns when libvirt has noticed. */
  async killQemu(): Promise<void> {
    const pid = Number(await readFile(this.libvirtd.folder.file(`run/qemu/${this.name}.pid`), 'latin1'));
    process.kill(pid, 'SIGKILL');
    const isOff = async () => (await this.libvirtd.virsh('domstate', this.name)).startsWith('shut off');
    await waitFor(isOff, `the end of ${this.name}`);
  }

  resize(target: string, size: number): Promise<string> {
    return this.libvirtd.virsh('blockresize', this.name, target, `${size}B`);
  }

  /** Names of libvirt's checkpoints. */
  async checkpoints(): Promise<readonly string[]> {
    const text = await this.libvirtd.virsh('checkpoint-list', this.name, '--name');
    return text.split('\n').filter(Boolean);
  }

  /** Names of the bitmaps of each disk, as QEMU has them now. */
  async bitmaps(): Promise<Readonly<Record<string, readonly string[]>>> {
    const found: Record<string, readonly string[]> = {};
    for (const { target, image } of this.disks) found[target] = await this.#bitmapsOf(image);
    return found;
  }

  async #bitmapsOf(image: string): Promise<readonly string[]> {
    const nodes = (await this.qmp('query-named-block-nodes', { flat: true })) as readonly {
      readonly drv: string;
      readonly file: string;
      readonly 'dirty-bitmaps'?: readonly { readonly name?: string }[];
    }[];
    const node = nodes.find(each => each.file === image && each.drv === 'qcow2');
    return (node?.['dirty-bitmaps'] ?? []).flatMap(({ name }) => name ?? []);
  }

  async #device(target: string): Promise<string> {
    const blocks = (await this.qmp('query-block')) as readonly {
      readonly qdev?: string;
      readonly inserted?: { readonly image: { readonly filename: string } };
    }[];
    const image = this.disks.find(disk => disk.target === target)!.image;
    const block = blocks.find(each => each.inserted?.image.filename.includes(image));
    if (block?.qdev !== undefined) return block.qdev;
    // While a job runs a filter stands before the image; devices are in the order of the disks.
    return `/machine/peripheral/virtio-disk${this.disks.findIndex(disk => disk.target === target)}/virtio-backend`;
  }
}

export async function definePausedDomain(
  libvirtd: Libvirtd,
  options: PausedDomainOptions,
): Promise<PausedDomain> {
  const { name, uuid, disks, devices = '' } = options;
  const xml = `<domain type='qemu'><name>${name}</name>${uuid === undefined ? '' : `<uuid>${uuid}</uuid>`}
    <memory unit='MiB'>64</memory><vcpu>1</vcpu>
    <os><type arch='x86_64' machine='q35'>hvm</type></os><features><acpi/></features>
    <devices>${disks.map(diskXml).join('')}${devices}<memballoon model='none'/></devices></domain>`;
  const file = libvirtd.folder.file(`${name}.xml`);
  await runOk('tee', [file], { input: xml });
  await libvirtd.virsh('define', file);
  const domain = new PausedDomain(libvirtd, options);
  await domain.start();
  return domain;
}
