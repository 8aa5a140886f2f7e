import type { DiskSelection, Guest, GuestDisk } from '../front-end.js';
import type { Domain, DomainDisk } from './domain-xml.js';
import type { LibvirtConnection } from './libvirt-connection.js';
import { noBitmapReason, selectDisks } from './plan-disks.js';
import { checkVersions, parseCapacity } from './virsh-output.js';

/** A domain's disk that is backed up. */
export interface SelectedDisk extends DomainDisk {
  /** Bytes that the guest sees. */
  readonly size: number;
}

export interface DescribedGuest {
  readonly domain: Domain;
  readonly disks: readonly SelectedDisk[];
  readonly guest: Guest;
}

/** @throws HypervisorError GUEST_UNKNOWN, HYPERVISOR_TOO_OLD …; UsageError for the selection. */
export async function describeGuest(
  connection: LibvirtConnection,
  name: string,
  selection: DiskSelection,
): Promise<DescribedGuest> {
  const { libvirt, qemu } = await connection.versions();
  checkVersions({ libvirt, qemu });
  const domain = await connection.domain(name);
  const { state } = await connection.state(domain.uuid);
  const { disks: chosen, skipped } = selectDisks(domain.disks, selection);
  const disks = await withSizes(connection, domain.uuid, chosen);
  const guest: Guest = {
    ...{ kind: 'libvirt', name: domain.name, id: domain.uuid, state, skipped },
    disks: disks.map(guestDisk),
    versions: qemu === undefined ? { libvirt } : { libvirt, qemu },
  };
  return { domain, disks, guest };
}

async function withSizes(
  { virsh }: LibvirtConnection,
  uuid: string,
  disks: readonly DomainDisk[],
): Promise<readonly SelectedDisk[]> {
  const sized: SelectedDisk[] = [];
  for (const disk of disks) {
    const output = await virsh.domain(uuid, 'domblkinfo', { options: { device: disk.target } });
    sized.push({ ...disk, size: parseCapacity(output) });
  }
  return sized;
}

function guestDisk(disk: SelectedDisk): GuestDisk {
  const { target, size, format, source } = disk;
  return { name: target, size, format, source: source ?? null, noBitmap: noBitmapReason(disk) };
}
