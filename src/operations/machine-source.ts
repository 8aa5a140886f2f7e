import { hostname } from 'node:os';
import type { NbdUri } from '../nbd/protocol/uri.js';

/** Addresses that mean this machine. */
const LOCAL = /^(localhost|127\.\d+\.\d+\.\d+|::1)$/i;

/**
 * What stays the same of a disk's source from one backup to the next: the host that publishes it and the
 * export's name. Socket paths and ports belong to a job and change with it, so they are left out.
 */
export function describeSource(uri: NbdUri): string {
  const { address } = uri;
  const host = address.kind === 'unix' || LOCAL.test(address.host) ? hostname() : address.host.toLowerCase();
  return `//${host}/${uri.exportName}`;
}
