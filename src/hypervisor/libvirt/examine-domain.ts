import type { DiskSelection, Finding } from '../front-end.js';
import { attempt, type DomainView, viewDomain } from './doctor/domain-view.js';
import { examineAgent } from './doctor/examine-agent.js';
import { examineCheckpoints } from './doctor/examine-checkpoints.js';
import { examineDisks } from './doctor/examine-disks.js';
import { examineJob } from './doctor/examine-job.js';
import { examinePermission } from './doctor/examine-permission.js';
import { examineScratch } from './doctor/examine-scratch.js';
import { examineSocketFolder } from './doctor/examine-socket-folder.js';
import { examineTls } from './doctor/examine-tls.js';
import { examineVersions } from './doctor/examine-versions.js';
import type { LibvirtConnection } from './libvirt-connection.js';

/** In the order of the report. */
const ALWAYS = [
  ['permission', examinePermission],
  ['state', examineJob],
  ['disk', examineDisks],
  ['checkpoints', examineCheckpoints],
] as const;

/** What only a job in QEMU needs. */
const RUNNING = [
  ['scratch-space', examineScratch],
  ['socket-folder', examineSocketFolder],
  ['tls', examineTls],
  ['guest-agent', examineAgent],
] as const;

type Examiner = (view: DomainView) => AsyncIterable<Finding>;

/**
 * What can be backed up of a domain, and how. Changes nothing; what is wrong with the guest is a finding.
 * @throws HypervisorError when there is no such domain, or no answer; UsageError for the selection.
 */
export async function* examineDomain(
  connection: LibvirtConnection,
  name: string,
  selection: DiskSelection,
): AsyncGenerator<Finding> {
  const versions = examineVersions(await connection.versions());
  yield* versions;
  // An older libvirt does not know the questions.
  if (versions.some(({ status }) => status === 'problem')) return;
  const view = await viewDomain(connection, name, selection);
  const examiners: readonly (readonly [string, Examiner])[] =
    view.state.state === 'off' ? ALWAYS : [...ALWAYS, ...RUNNING];
  for (const [id, examine] of examiners) yield* attempt(id, () => examine(view));
}
