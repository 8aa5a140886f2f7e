import { append, attribute, childElements, descend, type Element } from '../xml-document.js';

/** A disk that was restored to a file. */
export interface RestoredImage {
  readonly path: string;
  readonly format: 'qcow2' | 'raw';
}

/** Of a disk, what belonged to where it was before: chains, jobs, keys of the old place. */
const OF_THE_OLD_PLACE = [
  'backingStore',
  'mirror',
  'auth',
  'encryption',
  'reservations',
  'cookies',
  'slices',
  'transient',
];

/** Points the disks to the restored files; those that were not restored are left out, removable ones emptied. */
export function adaptDisks(
  root: Element,
  images: ReadonlyMap<string, RestoredImage>,
  notice: (text: string) => void,
): void {
  const devices = descend(root, 'devices');
  for (const disk of childElements(devices, 'disk')) {
    const target = attribute(descend(disk, 'target'), 'dev') ?? '';
    const image = images.get(target);
    const device = attribute(disk, 'device') ?? 'disk';
    if (image !== undefined) pointTo(disk, image, target, notice);
    else if (device === 'cdrom' || device === 'floppy') eject(disk, target, notice);
    else {
      devices!.removeChild(disk);
      notice(`disk ${target} is not in the point: it was left out`);
    }
  }
}

function pointTo(disk: Element, image: RestoredImage, target: string, notice: (text: string) => void): void {
  const old = descend(disk, 'source');
  const wasEncrypted = descend(disk, 'encryption') !== undefined || descend(old, 'encryption') !== undefined;
  for (const name of OF_THE_OLD_PLACE) removeChildren(disk, name);
  removeChildren(disk, 'source');
  disk.setAttribute('type', 'file');
  // A "lun" hands SCSI commands to a device; a file takes none.
  if (attribute(disk, 'device') === 'lun') disk.setAttribute('device', 'disk');
  const source = append(disk, 'source', { file: image.path });
  const driver = descend(disk, 'driver') ?? append(disk, 'driver', { name: 'qemu' });
  driver.setAttribute('type', image.format);
  // libvirt's schema does not mind the order, people do.
  disk.insertBefore(source, descend(disk, 'target') ?? null);
  if (wasEncrypted) notice(`disk ${target} was encrypted; what was restored is not`);
}

function eject(disk: Element, target: string, notice: (text: string) => void): void {
  const source = descend(disk, 'source');
  if (source === undefined) return;
  const medium = attribute(source, 'file') ?? attribute(source, 'dev') ?? 'its medium';
  removeChildren(disk, 'source');
  removeChildren(disk, 'backingStore');
  notice(`drive ${target} is empty: ${medium} is not in the point`);
}

function removeChildren(parent: Element, name: string): void {
  for (const child of childElements(parent, name)) parent.removeChild(child);
}
