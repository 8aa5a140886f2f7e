import type { Action, SweepRequest } from '../front-end.js';
import type { LibvirtConnection } from './libvirt-connection.js';

export async function sweepDomain(
  _connection: LibvirtConnection,
  _name: string,
  _request: SweepRequest,
): Promise<readonly Action[]> {
  return [];
}
