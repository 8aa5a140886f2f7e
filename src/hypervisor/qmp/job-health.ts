import { HypervisorError } from '../../errors.js';
import type { SessionRecord } from '../session-record.js';
import { type JobDetails, readJobDetails } from './job-details.js';
import { type QemuExport, type QemuJob, queryExports, queryJobs } from './qemu-state.js';
import type { QmpClient } from './qmp-client.js';

/**
 * States in which what the guest overwrites is copied first. A paused job's filter goes on copying; QEMU also pauses
 * jobs by itself, for moments, whenever the graph changes.
 */
const ALIVE = ['running', 'paused'];

/**
 * Asks whether the very jobs and exports of the record are there. A job that ended leaves an export that still answers,
 * with the guest's live data; names cannot come again, so what is there now was there all the time.
 * @throws HypervisorError JOB_LOST.
 */
export async function checkJobHealth(client: QmpClient, record: SessionRecord): Promise<void> {
  const details = readJobDetails(record);
  const jobs = await queryJobs(client);
  const exports = await queryExports(client);
  for (const disk of details.disks) {
    const wrong = jobTrouble(jobs, disk) ?? exportTrouble(exports, disk);
    if (wrong !== undefined) throw jobLost(record.run, `disk ${disk.name}: ${wrong}`);
  }
}

type JobDisk = JobDetails['disks'][number];

function jobTrouble(jobs: readonly QemuJob[], { job: id }: JobDisk): string | undefined {
  const job = jobs.find(candidate => candidate.id === id);
  if (job === undefined) return `QEMU has no job ${id} any more`;
  if (job.type === 'backup' && ALIVE.includes(job.status)) return undefined;
  const why = job.error === undefined ? '' : ` (${job.error})`;
  return `job ${id} is ${job.status}${why}, expected running`;
}

function exportTrouble(exports: readonly QemuExport[], disk: JobDisk): string | undefined {
  const found = exports.find(({ id }) => id === disk.export);
  if (found === undefined) return `QEMU has no export ${disk.export} any more`;
  if (found['shutting-down']) return `export ${disk.export} is being removed`;
  if (found['node-name'] === disk.scratchNode) return undefined;
  return `export ${disk.export} is of node ${found['node-name']}, expected ${disk.scratchNode}`;
}

export function jobLost(run: string, why: string, cause?: unknown): HypervisorError {
  return new HypervisorError('JOB_LOST', `the backup job ${run} is not alive any more; ${why}`, {
    cause,
    hint: 'what was read is discarded; the next backup misses nothing',
    fields: { run },
  });
}
