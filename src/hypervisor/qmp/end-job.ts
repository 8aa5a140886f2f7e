import type { Action } from '../front-end.js';
import type { Host } from '../host/host.js';
import { findRunName } from '../run-name.js';
import type { SessionRecord } from '../session-record.js';
import { type JobDetails, readJobDetails } from './job-details.js';
import type { QmpClient } from './qmp-client.js';
import { removeFolders, tearDown } from './tear-down.js';

/** Ends a job that some process began, with its record alone. */
export async function endJob(
  client: QmpClient,
  host: Host,
  record: SessionRecord,
  outcome: 'commit' | 'abort',
): Promise<readonly Action[]> {
  const details = readJobDetails(record);
  return await tearDown(client, host, {
    run: findRunName(record.run)!,
    server: details.server,
    ownsServer: false,
    folders: foldersOf(details),
    bitmaps: outcome === 'abort',
    resume: details.guestRan,
  });
}

/** QEMU is gone, and with it jobs, exports, nodes and the server; its files stayed. */
export async function endJobOfDeadQemu(
  host: Host,
  record: SessionRecord,
  outcome: 'commit' | 'abort',
): Promise<readonly Action[]> {
  const actions = await removeFolders(host, foldersOf(readJobDetails(record)));
  if (outcome === 'commit' || record.checkpoint === null) return actions;
  const text = `QEMU is gone: bitmap ${record.checkpoint} may be in the images; the next backup removes it`;
  return [...actions, { what: 'left', name: record.checkpoint, text }];
}

function foldersOf({ server, scratchFolder }: JobDetails): readonly string[] {
  return server.kind === 'unix' ? [scratchFolder, server.folder] : [scratchFolder];
}
