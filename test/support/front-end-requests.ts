import type { BeginRequest } from '#nbdelta/hypervisor/front-end.js';
import { newRunName, ownerTag } from '#nbdelta/hypervisor/run-name.js';
import type { SessionRecord } from '#nbdelta/hypervisor/session-record.js';

/** Whose runs the tests' are. */
export const TEST_OWNER = ownerTag('tests of front-ends');

/** A request for all disks with a new checkpoint; `bases` by name. */
export function beginRequest(
  change: Partial<Omit<BeginRequest, 'bases'>> & { readonly bases?: readonly string[] } = {},
): BeginRequest {
  const { bases = [], ...rest } = change;
  return {
    run: newRunName(TEST_OWNER).text,
    selection: {},
    bases: bases.map(name => ({ name, definition: undefined })),
    checkpoint: true,
    quiesce: undefined,
    lasting: false,
    journal: async () => undefined,
    signal: undefined,
    ...rest,
  };
}

/** A journal that keeps what it was given. */
export function keptJournal() {
  const records: SessionRecord[] = [];
  return { records, journal: async (record: SessionRecord) => void records.push(record) };
}
