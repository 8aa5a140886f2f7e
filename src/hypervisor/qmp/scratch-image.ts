import { join } from 'node:path';
import type { PlannedDisk } from './plan-job.js';
import { queryJobs } from './qemu-state.js';
import type { QmpClient } from './qmp-client.js';
import type { QmpArguments } from './qmp-codec.js';
import { QmpCommandError } from './qmp-error.js';

/**
 * Makes the scratch image of a disk and opens it above the live disk. What the guest overwrites is first copied there; a
 * read of it gives the copy, or what the disk still has. QEMU itself makes the file, so that it belongs to QEMU's user;
 * the live disk stays open meanwhile, which qemu-img could not have.
 */
export async function openScratchImage(
  client: QmpClient,
  folder: string,
  { disk, names }: PlannedDisk,
): Promise<void> {
  const filename = join(folder, names.scratchFile);
  const file = names.scratchFileNode;
  await create(client, names.createFileJob, { driver: 'file', filename, size: 0 });
  await client.execute('blockdev-add', { driver: 'file', 'node-name': file, filename });
  await create(client, names.createImageJob, { driver: 'qcow2', file, size: disk.size });
  await client.execute('blockdev-add', {
    driver: 'qcow2',
    'node-name': names.scratchNode,
    file,
    backing: disk.node['node-name'],
  });
}

/** Making an image is a job for QEMU, whose error is the job's. */
async function create(client: QmpClient, id: string, options: QmpArguments): Promise<void> {
  await client.execute('blockdev-create', { 'job-id': id, options });
  let failure: string | undefined;
  await client.until(`job ${id}`, async () => {
    const job = (await queryJobs(client)).find(candidate => candidate.id === id);
    failure = job === undefined ? 'the job vanished' : job.error;
    return job === undefined || job.status === 'concluded';
  });
  await client.execute('job-dismiss', { id });
  if (failure !== undefined) throw new QmpCommandError('blockdev-create', 'GenericError', failure);
}
