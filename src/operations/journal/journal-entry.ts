import * as z from 'zod';
import { sessionRecordSchema } from '../../hypervisor/session-record.js';

const processIdentity = z.object({
  host: z.string(),
  hostId: z.string().nullable(),
  bootId: z.string().nullable(),
  pidNamespace: z.string().nullable(),
  pid: z.int().positive(),
  processStart: z.string().nullable(),
});

/** What is remembered of a run while it lasts: enough to end it, and to tell whether somebody still looks after it. */
export const journalEntrySchema = z.object({
  version: z.literal(1),
  /** `backup`: one process begins and ends it; `session`: it waits for `session end`. */
  purpose: z.enum(['backup', 'session']),
  record: sessionRecordSchema,
  /** The process that looks after a backup; nobody does after a session until it expires. */
  process: processIdentity.nullable(),
  /** Where a backup's point goes. */
  repository: z.string().nullable(),
  machine: z.string().nullable(),
  /** After this a session counts as abandoned. */
  expires: z.iso.datetime().nullable(),
});

export type JournalEntry = Readonly<z.output<typeof journalEntrySchema>>;

export const JOURNAL_ENTRY_MAX_BYTES = 1 << 20;

/** @throws Error when the text is not an entry of this version. */
export function decodeJournalEntry(text: string): JournalEntry {
  return journalEntrySchema.parse(JSON.parse(text));
}

export function encodeJournalEntry(entry: JournalEntry): string {
  return `${JSON.stringify(entry, null, 2)}\n`;
}
