import { describe, expect, it } from 'vitest';
import { parseBackup } from '#nbdelta/hypervisor/libvirt/backup-xml.js';
import type { JobDetails } from '#nbdelta/hypervisor/libvirt/job-details.js';
import { isOwnJob } from '#nbdelta/hypervisor/libvirt/own-job.js';

const details: JobDetails = {
  ...{ mode: 'job', domainId: 1, server: { kind: 'unix', socket: '/run/r/s' }, folder: '/run/r' },
  ...{ localFolder: null, scratchReserve: 0, ranAtBegin: true, quiesce: false },
  scratch: [{ disk: 'vda', path: '/t/r-vda', isDevice: false }],
};

function job(server: string, scratch = '/t/r-vda') {
  return parseBackup(
    `<domainbackup mode='pull'>${server}<disks><disk name='vda'><scratch file='${scratch}'/></disk></disks></domainbackup>`,
  );
}

describe('isOwnJob', () => {
  const unix = "<server transport='unix' socket='/run/r/s'/>";
  const tcp = "<server transport='tcp' tls='yes' name='h' port='10809'/>";
  const overTcp: JobDetails = { ...details, server: { kind: 'tcp', host: 'h', port: 10809 } };

  it('knows its own', () => {
    expect(isOwnJob(job(unix), details)).toBe(true);
    expect(isOwnJob(job(tcp), overTcp)).toBe(true);
  });

  it('takes no other for it', () => {
    expect(isOwnJob(undefined, details)).toBe(false);
    expect(isOwnJob(job(unix.replace('/r/', '/q/')), details)).toBe(false);
    expect(isOwnJob(job(tcp), details)).toBe(false);
    expect(isOwnJob(job(unix), overTcp)).toBe(false);
    expect(isOwnJob(job(''), details)).toBe(false);
    // The same port in a later job.
    expect(isOwnJob(job(tcp, '/t/later-vda'), overTcp)).toBe(false);
  });
});
