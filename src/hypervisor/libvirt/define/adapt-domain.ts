import { HypervisorError } from '../../../errors.js';
import {
  childElements,
  descend,
  type Element,
  formatXml,
  parseXml,
  setText,
  textOf,
} from '../xml-document.js';
import { adaptDevices } from './adapt-devices.js';
import { adaptDisks, type RestoredImage } from './adapt-disks.js';

/** How a stored guest is to be called and where its parts are now. */
export interface DomainChange {
  readonly name: string;
  readonly uuid: string;
  /** Restored disks by target. */
  readonly images: ReadonlyMap<string, RestoredImage>;
  /** Where its UEFI variables were restored to. */
  readonly nvram: string | undefined;
  /** Whether network interfaces get new addresses: needed where the original runs on the same network. */
  readonly newMacs: boolean;
}

export interface AdaptedDomain {
  readonly xml: string;
  /** What was changed or could not be, one sentence each. */
  readonly notices: readonly string[];
}

/** Longest description that is read. Bytes. */
const MAX_LENGTH = 16 << 20;

/**
 * Adapts a stored inactive domain so that it can be defined beside the original: name, uuid, disks, nvram, addresses.
 * What it does not know it leaves as it is.
 * @throws HypervisorError when it is no domain, or has a document type: entities are no business of a guest's.
 */
export function adaptDomain(stored: string, change: DomainChange): AdaptedDomain {
  if (stored.length > MAX_LENGTH || /<!DOCTYPE/i.test(stored)) {
    throw new HypervisorError(
      'HYPERVISOR_FAILED',
      "the stored description is not one of libvirt's: too long, or with a DOCTYPE",
    );
  }
  const root = parseXml(stored, 'domain', 'the stored description');
  const before = textOf(descend(root, 'name')) ?? '';
  const notices: string[] = [];
  const notice = (text: string) => void notices.push(text);
  setChildText(root, 'name', change.name);
  setChildText(root, 'uuid', change.uuid);
  root.removeAttribute('id');
  adaptNvram(root, change.nvram, notice);
  adaptDisks(root, change.images, notice);
  adaptDevices(root, { before, name: change.name, newMacs: change.newMacs }, notice);
  return { xml: formatXml(root), notices };
}

function setChildText(root: Element, name: string, text: string): void {
  const element = descend(root, name);
  if (element !== undefined) setText(element, text);
  else {
    const created = root.ownerDocument!.createElement(name);
    setText(created, text);
    root.insertBefore(created, root.firstChild);
  }
}

/** Two guests must not share their UEFI variables; without a copy libvirt makes fresh ones from its template. */
function adaptNvram(root: Element, path: string | undefined, notice: (text: string) => void): void {
  const nvram = descend(root, 'os', 'nvram');
  if (nvram === undefined) return;
  for (const source of childElements(nvram)) nvram.removeChild(source);
  nvram.removeAttribute('type');
  setText(nvram, path ?? '');
  if (path !== undefined) return;
  nvram.parentNode!.removeChild(nvram);
  notice('the point has no copy of the UEFI variables: libvirt makes fresh ones, boot entries are lost');
}
