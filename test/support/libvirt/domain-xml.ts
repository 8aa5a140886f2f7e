/** A disk of a test's domain. */
export interface DomainDisk {
  readonly target: string;
  readonly image: string;
  readonly format: 'qcow2' | 'raw';
  /** Uuid of the libvirt secret with the passphrase of a qcow2 image with LUKS: see `defineSecret`. */
  readonly secret?: string;
}

/** A kernel to boot without a boot loader. */
export interface DomainKernel {
  readonly kernel: string;
  readonly initrd: string;
  readonly commandLine: string;
}

export interface DomainDescription {
  readonly name: string;
  readonly uuid?: string;
  readonly disks: readonly DomainDisk[];
  /** Without one there is nothing to boot: to be started paused. */
  readonly boot?: DomainKernel;
  readonly memoryMib?: number;
  /** XML to put among the devices. */
  readonly devices?: string;
}

/** All values are the test's own paths and names: nothing to escape. */
export function domainXml(description: DomainDescription): string {
  const { name, uuid, disks, boot, memoryMib = 64, devices = '' } = description;
  return `<domain type='qemu'><name>${name}</name>${uuid === undefined ? '' : `<uuid>${uuid}</uuid>`}
    <memory unit='MiB'>${memoryMib}</memory><vcpu>1</vcpu>
    <os><type arch='x86_64' machine='q35'>hvm</type>${boot === undefined ? '' : bootXml(boot)}</os>
    <features><acpi/></features>
    <on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>destroy</on_crash>
    <devices>${disks.map(diskXml).join('')}${devices}
    <controller type='usb' model='none'/><memballoon model='none'/></devices></domain>`;
}

function bootXml({ kernel, initrd, commandLine }: DomainKernel): string {
  return `<kernel>${kernel}</kernel><initrd>${initrd}</initrd><cmdline>${commandLine}</cmdline>`;
}

export function diskXml({ target, image, format, secret }: DomainDisk): string {
  const encryption =
    secret === undefined
      ? ''
      : `<encryption format='luks'><secret type='passphrase' uuid='${secret}'/></encryption>`;
  return `<disk type='file' device='disk'>
    <driver name='qemu' type='${format}' discard='unmap'/>
    <source file='${image}'>${encryption}</source><target dev='${target}' bus='virtio'/></disk>`;
}
