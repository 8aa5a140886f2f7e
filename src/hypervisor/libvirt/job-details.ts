import * as z from 'zod';
import { HypervisorError } from '../../errors.js';
import type { SessionRecord } from '../session-record.js';

const server = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('unix'), socket: z.string() }),
  z.object({ kind: z.literal('tcp'), host: z.string(), port: z.int() }),
]);

/** What a session record says in this front-end's words. */
const details = z.object({
  mode: z.literal('job'),
  /** libvirt's number of this start of the domain: another one when QEMU was started again. */
  domainId: z.int(),
  server,
  /** Private folder of the socket, on the hypervisor's host. */
  folder: z.string().nullable(),
  /** Private folder here, of the socket that is forwarded over ssh. */
  localFolder: z.string().nullable(),
  /** `size`: of a device. */
  scratch: z.array(
    z.object({ disk: z.string(), path: z.string(), isDevice: z.boolean(), size: z.number().optional() }),
  ),
  scratchReserve: z.number(),
  /** It is resumed when a full scratch paused it. */
  ranAtBegin: z.boolean(),
  /** Whether its file systems are frozen while the job begins. */
  quiesce: z.boolean(),
});

export type JobDetails = Readonly<z.output<typeof details>>;

/** @throws HypervisorError when the record is of another version, or not of a libvirt job. */
export function jobDetails(record: SessionRecord): JobDetails {
  const parsed = details.safeParse(record.details);
  if (parsed.success) return parsed.data;
  throw new HypervisorError(
    'HYPERVISOR_FAILED',
    `the record of run ${record.run} is not one of a libvirt job`,
    {
      cause: parsed.error,
      hint: 'it may be of a newer version',
    },
  );
}
