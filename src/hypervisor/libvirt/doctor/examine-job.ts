import type { Finding } from '../../front-end.js';
import type { DomainView } from './domain-view.js';

/** The domain's state, and the job that it runs. libvirt has one job at a time for a domain. */
export async function* examineJob({ connection, domain, state }: DomainView): AsyncGenerator<Finding> {
  const reason = state.reason === '' ? '' : ` (${state.reason})`;
  if (state.state === 'off') {
    yield {
      ...{ id: 'state', status: 'info' },
      text: `the guest is off${reason}: its images are read with qemu-nbd; libvirt begins no checkpoint, and the last one stays the base`,
    };
    return;
  }
  yield { id: 'state', status: 'ok', text: `the guest is ${state.state}${reason}` };
  const backup = await connection.backup(domain.uuid);
  if (backup !== undefined) {
    yield backupFinding(backup.runs, domain.name);
    return;
  }
  const job = await connection.job(domain.uuid);
  if (!job.isActive) yield { id: 'job', status: 'ok', text: 'no job is running' };
  else yield foreign(`a job is running: ${job.operation}`, domain.name);
}

function backupFinding(runs: readonly string[], domain: string): Finding {
  if (runs.length === 0) return foreign("somebody else's backup job is running", domain);
  return {
    ...{ id: 'job', status: 'warning' },
    text: `a backup job of nbdelta is running: ${runs.join(', ')}; no second one can begin`,
    fix: `wait for its end; if it died: \`nbdelta recover libvirt:${domain}\``,
  };
}

function foreign(text: string, domain: string): Finding {
  const fix = `wait for its end, or have its owner end it: \`virsh domjobinfo ${domain}\``;
  return { id: 'job', status: 'problem', text, fix };
}
