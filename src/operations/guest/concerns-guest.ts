import { resolve } from 'node:path';
import type { Guest } from '../../hypervisor/front-end.js';
import type { SessionRecord } from '../../hypervisor/session-record.js';

/** Whether a recorded run was of this guest: by its id where both have one, by the sources as given otherwise. */
export function concernsGuest(
  record: SessionRecord,
  guest: Pick<Guest, 'kind' | 'id'>,
  sources: readonly string[],
): boolean {
  if (record.kind !== guest.kind) return false;
  if (record.guest.id !== null && guest.id !== null) return record.guest.id === guest.id;
  const given = sources.map(absolute);
  return record.sources.some(source => given.includes(absolute(source)));
}

/** A record names an image by its absolute path: it is read in another folder as well. */
function absolute(source: string): string {
  const path = /^image:(.+)$/is.exec(source)?.[1];
  return path === undefined ? source : `image:${resolve(path)}`;
}
