import { copyFile } from 'node:fs/promises';
import { type Domain, defineDomain } from './domain.js';
import type { DomainDisk } from './domain-xml.js';
import { guestImage } from './guest-image.js';
import { GuestShell } from './guest-shell.js';
import type { Libvirtd } from './libvirtd.js';

export interface LinuxDomainOptions {
  readonly name: string;
  readonly disks: readonly DomainDisk[];
  /** A channel for the guest agent, which the guest then starts. */
  readonly agent?: boolean;
}

/** A running Linux with a shell: {@link guest-init.sh} is its whole userland. */
export interface LinuxDomain extends Disposable {
  readonly domain: Domain;
  readonly shell: GuestShell;
  /** The guest ends by itself; returns when libvirt has noticed. */
  powerOff(): Promise<void>;
}

const MEMORY_MIB = 128;

function devices(libvirtd: Libvirtd, name: string, agent: boolean): string {
  const channel = `<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>`;
  return `<serial type='file'><source path='${consolePath(libvirtd, name)}'/><target port='0'/></serial>
    <serial type='unix'><source mode='bind' path='${shellPath(libvirtd, name)}'/><target port='1'/></serial>
    ${agent ? channel : ''}`;
}

const consolePath = ({ folder }: Libvirtd, name: string) => folder.file(`${name}.console`);
const shellPath = ({ folder }: Libvirtd, name: string) => folder.file(`${name}.shell`);

/** Defines and boots a guest; returns when its shell answers. */
export async function startLinuxDomain(
  libvirtd: Libvirtd,
  { name, disks, agent = false }: LinuxDomainOptions,
): Promise<LinuxDomain> {
  const { kernel, initrd } = await ownImage(libvirtd);
  const domain = await defineDomain(libvirtd, {
    ...{ name, disks, memoryMib: MEMORY_MIB, devices: devices(libvirtd, name, agent) },
    boot: { kernel, initrd, commandLine: 'console=ttyS0 quiet panic=-1' },
  });
  await domain.start();
  const shell = await openShell(libvirtd, name);
  return {
    domain,
    shell,
    async powerOff() {
      shell.send('sync; poweroff -f');
      await domain.isOff();
    },
    [Symbol.dispose]: () => shell[Symbol.dispose](),
  };
}

/** The shell of a domain that was started by others, such as a restored one. */
export function openShell(libvirtd: Libvirtd, name: string): Promise<GuestShell> {
  return GuestShell.open(shellPath(libvirtd, name), consolePath(libvirtd, name));
}

/** Copies of its own: libvirt gives them to QEMU's user, who may not enter the cache. */
async function ownImage({ folder }: Libvirtd): Promise<{ readonly kernel: string; readonly initrd: string }> {
  const image = await guestImage();
  const own = { kernel: folder.file('vmlinuz'), initrd: folder.file('initrd') };
  await copyFile(image.kernel, own.kernel);
  await copyFile(image.initrd, own.initrd);
  return own;
}
