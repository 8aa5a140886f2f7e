import { attribute, childElements, descend, type Element } from '../xml-document.js';

export interface DeviceChange {
  /** What the guest was called. */
  readonly before: string;
  readonly name: string;
  readonly newMacs: boolean;
}

type Notice = (text: string) => void;

/** Changes what two guests on one host cannot share, as far as it is safe, and names the rest. */
export function adaptDevices(root: Element, change: DeviceChange, notice: Notice): void {
  const devices = descend(root, 'devices');
  for (const device of childElements(devices)) {
    switch (device.tagName) {
      case 'interface':
        adaptInterface(device, change, notice);
        break;
      case 'serial':
      case 'console':
      case 'parallel':
      case 'channel':
      case 'redirdev':
        adaptCharacterDevice(device, change, notice);
        break;
      case 'graphics':
        adaptGraphics(device, notice);
        break;
      case 'vsock':
        adaptVsock(device, notice);
        break;
      case 'hostdev':
        notice('a host device is passed through to it: it cannot be used by two guests at once');
        break;
      case 'filesystem':
        notice('a host folder is shared with it: it was left as it was');
        break;
    }
  }
  const arguments_ = childElements(root).filter(element => element.tagName.endsWith(':commandline'));
  if (arguments_.length > 0) notice('it has arguments for QEMU of its own: they were left as they were');
}

function adaptInterface(device: Element, { newMacs }: DeviceChange, notice: Notice): void {
  const address = attribute(descend(device, 'mac'), 'address') ?? 'none';
  if (newMacs) removeAll(device, 'mac');
  else
    notice(
      `network address ${address} was kept: it must not be on one network with the original (--new-macs)`,
    );
  const tap = descend(device, 'target');
  // A fixed name of a tap device can exist once; without one libvirt chooses.
  if (attribute(tap, 'dev') !== undefined) {
    removeAll(device, 'target');
    notice(`the tap device ${attribute(tap, 'dev')} belongs to the original: libvirt chooses another name`);
  }
}

/** Sockets and log files that carry the guest's name get the new one; others are shared, and said. */
function adaptCharacterDevice(device: Element, { before, name }: DeviceChange, notice: Notice): void {
  const source = descend(device, 'source');
  const path = attribute(source, 'path');
  const kind = attribute(device, 'type');
  if (source !== undefined && path !== undefined && (kind === 'unix' || kind === 'file')) {
    const adapted = renamedPath(path, before, name);
    source.setAttribute('path', adapted);
    // The first console is the first serial port once more.
    if (device.tagName !== 'console') notice(`${device.tagName} ${path} is ${adapted} now`);
  }
  const log = descend(device, 'log');
  const file = attribute(log, 'file');
  if (log !== undefined && file !== undefined) log.setAttribute('file', renamedPath(file, before, name));
  if (kind === 'tcp' || kind === 'udp')
    notice(`a ${device.tagName} uses a network port: it was left as it was`);
}

/** The path with the guest's name in its last part replaced, or put behind it where it is not there. */
export function renamedPath(path: string, before: string, name: string): string {
  const at = path.lastIndexOf('/') + 1;
  const [folder, file] = [path.slice(0, at), path.slice(at)];
  const found = before === '' ? -1 : file.indexOf(before);
  if (found >= 0) return folder + file.slice(0, found) + name + file.slice(found + before.length);
  return `${folder}${file}.${name}`;
}

function adaptGraphics(device: Element, notice: Notice): void {
  const socket = attribute(device, 'socket');
  if (socket !== undefined) device.removeAttribute('socket');
  const port = attribute(device, 'port');
  if (attribute(device, 'autoport') === 'yes' || port === undefined || port === '-1') return;
  device.setAttribute('autoport', 'yes');
  device.removeAttribute('port');
  device.removeAttribute('tlsPort');
  notice(
    `${attribute(device, 'type') ?? 'graphics'} port ${port} belongs to the original: libvirt chooses another one`,
  );
}

function adaptVsock(device: Element, notice: Notice): void {
  const cid = descend(device, 'cid');
  const address = attribute(cid, 'address');
  if (cid === undefined || address === undefined) return;
  cid.removeAttribute('address');
  cid.setAttribute('auto', 'yes');
  notice(`vsock address ${address} belongs to the original: libvirt chooses another one`);
}

function removeAll(parent: Element, name: string): void {
  for (const child of childElements(parent, name)) parent.removeChild(child);
}
