import * as z from 'zod';
import { HypervisorError } from '../../errors.js';
import type { SessionRecord } from '../session-record.js';

const server = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('unix'), folder: z.string(), socket: z.string() }),
  z.object({ kind: z.literal('tcp'), host: z.string(), port: z.int() }),
]);

const jobDetails = z.object({
  qmpSocket: z.string(),
  server,
  scratchFolder: z.string(),
  /** Free bytes that it must keep. */
  scratchReserve: z.int().nonnegative(),
  /** Whether the guest ran when the job began: then one that our full scratch paused is let go on. */
  guestRan: z.boolean(),
  disks: z.array(
    z.object({ name: z.string(), job: z.string(), export: z.string(), scratchNode: z.string() }),
  ),
});

/** What a record keeps for this front-end. */
export type JobDetails = Readonly<z.output<typeof jobDetails>>;
export type NbdServerPlace = JobDetails['server'];

/** @throws HypervisorError when the record is of something else. */
export function readJobDetails(record: SessionRecord): JobDetails {
  const parsed = jobDetails.safeParse(record.details);
  if (record.kind === 'qmp' && parsed.success) return parsed.data;
  throw new HypervisorError('HYPERVISOR_FAILED', `the record of run ${record.run} is not one of a QMP job`, {
    hint: 'it was begun by another front-end, or by a newer version',
  });
}
