import { HypervisorError } from '../../errors.js';
import { attribute, childElements, descend, formatXml, parseXml, textOf } from './xml-document.js';

export interface Checkpoint {
  readonly name: string;
  readonly parent: string | undefined;
  /** The domain that it was made of; only when its XML was asked for with the domain. */
  readonly domainUuid: string | undefined;
  readonly disks: readonly CheckpointDisk[];
}

export interface CheckpointDisk {
  readonly name: string;
  /** `undefined`: the checkpoint has none on this disk. */
  readonly bitmap: string | undefined;
  /** Bytes that changed since, when asked for; libvirt leaves it out where the bitmap is missing or inconsistent. */
  readonly size: number | undefined;
}

const WHAT = "the checkpoint's description";

/** Reads `virsh checkpoint-dumpxml`. */
export function parseCheckpoint(xml: string): Checkpoint {
  const root = parseXml(xml, 'domaincheckpoint', WHAT);
  const name = textOf(descend(root, 'name'));
  if (name === undefined) throw new HypervisorError('HYPERVISOR_FAILED', `${WHAT} has no name`);
  return {
    name,
    parent: textOf(descend(root, 'parent', 'name')),
    domainUuid: textOf(descend(root, 'domain', 'uuid')),
    disks: childElements(descend(root, 'disks'), 'disk').map(disk => {
      const size = attribute(disk, 'size');
      const hasBitmap = attribute(disk, 'checkpoint') === 'bitmap';
      return {
        name: attribute(disk, 'name') ?? '',
        bitmap: hasBitmap ? (attribute(disk, 'bitmap') ?? name) : undefined,
        size: size === undefined ? undefined : Number(size),
      };
    }),
  };
}

/** What is left of a checkpoint's description for the host as it is now. */
export interface Redefinition {
  readonly xml: string;
  /** Disks that it still has a bitmap on. */
  readonly disks: readonly string[];
}

/**
 * A checkpoint's description as libvirt takes it again: without a parent that it does not know any more (it refuses
 * the child then; since 7.0 every bitmap stands for itself, so that nothing is lost), and without bitmaps on
 * `without` and on disks that are gone.
 */
export function adaptForRedefinition(
  xml: string,
  known: { readonly checkpoints: readonly string[]; readonly disks: readonly string[] },
  without: readonly string[],
): Redefinition {
  const root = parseXml(xml, 'domaincheckpoint', WHAT);
  const parent = descend(root, 'parent');
  const parentName = textOf(descend(parent, 'name'));
  if (parent !== undefined && !known.checkpoints.includes(parentName ?? '')) root.removeChild(parent);
  const kept: string[] = [];
  for (const disk of childElements(descend(root, 'disks'), 'disk')) {
    const name = attribute(disk, 'name') ?? '';
    if (attribute(disk, 'checkpoint') !== 'bitmap') continue;
    if (known.disks.includes(name) && !without.includes(name)) kept.push(name);
    else {
      disk.setAttribute('checkpoint', 'no');
      disk.removeAttribute('bitmap');
    }
  }
  return { xml: formatXml(root), disks: kept };
}
