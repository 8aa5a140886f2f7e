import { HypervisorError } from '../../errors.js';
import { describeDiskSource } from './disk-source.js';
import {
  attribute,
  childElements,
  descend,
  type Element,
  formatXml,
  parseXml,
  textOf,
} from './xml-document.js';

/** What matters of a domain for its backup. */
export interface Domain {
  readonly name: string;
  readonly uuid: string;
  /** libvirt's number of this run of the domain: another one after every start; `undefined`: it is off. */
  readonly id: number | undefined;
  readonly disks: readonly DomainDisk[];
  /** As whom its QEMU runs, by its DAC label: `+64055:+108` or `user:group`. */
  readonly dacLabel: string | undefined;
  /** File of its UEFI variables. */
  readonly nvram: string | undefined;
}

export interface DomainDisk {
  /** `vda` */
  readonly target: string;
  /** `file`, `block`, `network`, `volume` … */
  readonly type: string;
  /** `disk`, `lun`, `cdrom`, `floppy` */
  readonly device: string;
  /** `qcow2`, `raw` … */
  readonly format: string;
  /** What stays the same of it, without credentials; `undefined`: nothing is inserted. */
  readonly source: string | undefined;
  /** Of a file or a device. */
  readonly path: string | undefined;
  readonly isReadonly: boolean;
  readonly isShareable: boolean;
  readonly isTransient: boolean;
  /** Whether an I/O thread serves it: its own, or its SCSI controller's. */
  readonly inIoThread: boolean;
  /** Its `<encryption>` as XML. */
  readonly encryption: string | undefined;
}

/** Reads `virsh dumpxml`, of a running domain or the inactive definition. */
export function parseDomain(xml: string): Domain {
  const root = parseXml(xml, 'domain', "the domain's description");
  const id = attribute(root, 'id');
  return {
    name: required(textOf(descend(root, 'name')), 'name'),
    uuid: required(textOf(descend(root, 'uuid')), 'uuid'),
    id: id === undefined ? undefined : Number(id),
    disks: childElements(descend(root, 'devices'), 'disk').map(disk => parseDisk(disk, root)),
    dacLabel: dacLabelOf(root),
    nvram: nvramOf(root),
  };
}

function required(text: string | undefined, what: string): string {
  if (text !== undefined) return text;
  throw new HypervisorError('HYPERVISOR_FAILED', `the domain's description has no ${what}`);
}

function parseDisk(disk: Element, root: Element): DomainDisk {
  const source = descend(disk, 'source');
  const has = (name: string) => descend(disk, name) !== undefined;
  // Under <source> since libvirt 3.9; before, and where somebody still writes it so, under <disk>.
  const encryption = descend(source, 'encryption') ?? descend(disk, 'encryption');
  return {
    target: required(attribute(descend(disk, 'target'), 'dev'), 'target for one of its disks'),
    type: attribute(disk, 'type') ?? 'file',
    device: attribute(disk, 'device') ?? 'disk',
    format: attribute(descend(disk, 'driver'), 'type') ?? 'raw',
    source: describeDiskSource(source),
    path: attribute(source, 'file') ?? attribute(source, 'dev'),
    isReadonly: has('readonly'),
    isShareable: has('shareable'),
    isTransient: has('transient'),
    inIoThread: hasIoThread(disk) || isOnThreadedController(disk, root),
    encryption: encryption && formatXml(encryption).trim(),
  };
}

function hasIoThread(device: Element): boolean {
  const driver = descend(device, 'driver');
  // Several threads for one disk: since libvirt 10.0.
  return attribute(driver, 'iothread') !== undefined || descend(driver, 'iothreads') !== undefined;
}

function isOnThreadedController(disk: Element, root: Element): boolean {
  if (attribute(descend(disk, 'target'), 'bus') !== 'scsi') return false;
  const index = attribute(descend(disk, 'address'), 'controller') ?? '0';
  return childElements(descend(root, 'devices'), 'controller').some(
    controller =>
      attribute(controller, 'type') === 'scsi' &&
      (attribute(controller, 'index') ?? '0') === index &&
      hasIoThread(controller),
  );
}

function dacLabelOf(root: Element): string | undefined {
  const dac = childElements(root, 'seclabel').find(label => attribute(label, 'model') === 'dac');
  return textOf(descend(dac, 'label'));
}

function nvramOf(root: Element): string | undefined {
  const nvram = descend(root, 'os', 'nvram');
  // Since 8.5 it may be a disk's kind of source, also one that is no file here.
  const source = descend(nvram, 'source');
  return source === undefined ? textOf(nvram) : attribute(source, 'file');
}
