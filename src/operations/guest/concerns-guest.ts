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
  return record.sources.some(source => sources.includes(source));
}
