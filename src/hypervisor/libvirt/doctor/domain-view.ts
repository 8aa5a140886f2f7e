import { errorLine, HypervisorError } from '../../../errors.js';
import type { DiskSelection, Finding } from '../../front-end.js';
import type { Domain, DomainDisk } from '../domain-xml.js';
import { parseDomain } from '../domain-xml.js';
import type { LibvirtConnection } from '../libvirt-connection.js';
import { selectDisks } from '../plan-disks.js';
import { type DomainState, parseCapacity } from '../virsh-output.js';
import { type DomainDetails, parseDomainDetails } from './domain-details.js';

/** A domain as it was when the doctor came. */
export interface DomainView {
  readonly connection: LibvirtConnection;
  readonly domain: Domain;
  readonly details: DomainDetails;
  readonly state: DomainState;
  /** Those that would be backed up. */
  readonly disks: readonly DomainDisk[];
  readonly skipped: ReturnType<typeof selectDisks>['skipped'];
  /** Bytes that the guest sees, by target; a disk that libvirt cannot measure is missing. */
  readonly sizes: ReadonlyMap<string, number>;
}

/** @throws HypervisorError when the domain cannot be looked at at all; UsageError for the selection. */
export async function viewDomain(
  connection: LibvirtConnection,
  name: string,
  selection: DiskSelection,
): Promise<DomainView> {
  const xml = await connection.virsh.domain(name, 'dumpxml');
  const domain = parseDomain(xml);
  const { disks, skipped } = selectDisks(domain.disks, selection);
  const state = await connection.state(domain.uuid);
  const sizes = await measure(connection, domain.uuid, disks);
  return { connection, domain, details: parseDomainDetails(xml), state, disks, skipped, sizes };
}

async function measure(
  { virsh }: LibvirtConnection,
  uuid: string,
  disks: readonly DomainDisk[],
): Promise<ReadonlyMap<string, number>> {
  const sizes = new Map<string, number>();
  for (const { target } of disks) {
    try {
      sizes.set(
        target,
        parseCapacity(await virsh.domain(uuid, 'domblkinfo', { options: { device: target } })),
      );
    } catch (error) {
      // The disk's own finding says that it cannot be measured.
      if (!(error instanceof HypervisorError)) throw error;
    }
  }
  return sizes;
}

/** What `look` finds; what keeps it from looking is a finding too. A libvirt that went away ends the examination. */
export async function* attempt(id: string, look: () => AsyncIterable<Finding>): AsyncGenerator<Finding> {
  try {
    yield* look();
  } catch (error) {
    if (!(error instanceof HypervisorError) || error.code === 'HYPERVISOR_UNREACHABLE') throw error;
    const fix = error.hint ?? 'see the message';
    yield { id, status: 'warning', text: `${id} cannot be looked at: ${errorLine(error)}`, fix };
  }
}
