import { HypervisorError } from '../../../errors.js';
import type { Finding } from '../../front-end.js';
import type { DomainView } from './domain-view.js';

/** Whether this connection may change anything: libvirt gives secrets only to those that may. */
export async function* examinePermission({ connection, domain }: DomainView): AsyncGenerator<Finding> {
  const id = 'permission';
  try {
    await connection.virsh.domain(domain.uuid, 'dumpxml', { options: { 'security-info': true } });
    yield { id, status: 'ok', text: 'libvirt lets us drive the domain' };
  } catch (error) {
    if (!(error instanceof HypervisorError) || error.code !== 'HYPERVISOR_DENIED') throw error;
    const fix = 'run as root or as a member of the group libvirt, or give the right --connect';
    yield {
      id,
      status: 'problem',
      text: 'the connection to libvirt can only read: no job can be begun',
      fix,
    };
  }
}
