import type { FrontEnd } from '../../hypervisor/front-end.js';
import type { FrontEndOptions } from '../../hypervisor/front-end-options.js';
import { openFrontEnd } from '../../hypervisor/open-front-end.js';
import type { SessionRecord } from '../../hypervisor/session-record.js';
import { parseSource } from '../../hypervisor/source.js';
import { type GuestSource, parseGuestSources } from './guest-backup-options.js';

/** The front-end for sources as a user gives them. @throws UsageError */
export async function openSources(
  source: GuestSource | readonly GuestSource[],
  options: FrontEndOptions,
): Promise<FrontEnd> {
  return await openFrontEnd(parseGuestSources(source), options);
}

/** The front-end that a recorded run was begun with. */
export async function openRecorded(record: SessionRecord, options: FrontEndOptions): Promise<FrontEnd> {
  // What the disks are called is in the record; here two images must not be called the same.
  const sources = record.sources.map((text, index) => ({
    disk: record.kind === 'image' ? `image${index}` : undefined,
    source: parseSource(text),
  }));
  return await openFrontEnd(sources, { ...options, connect: record.connect ?? options.connect });
}
