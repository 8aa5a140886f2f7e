import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errorLine } from '../../errors.js';
import type { Finding, Guest } from '../../hypervisor/front-end.js';
import { isCertainlyGone, procProbe } from '../../repository/process-identity.js';
import type { JournalEntry } from '../journal/journal-entry.js';
import type { StateFolder } from '../journal/state-folder.js';
import { concernsGuest } from './concerns-guest.js';
import { isExpired } from './sessions.js';

/** The state folder: whether runs can be written down there, and what it remembers of this guest. */
export async function* examineState(
  state: StateFolder,
  guest: Pick<Guest, 'kind' | 'id'>,
  sources: readonly string[],
): AsyncGenerator<Finding, void, undefined> {
  const folder = await examineFolder(state.path);
  yield folder;
  if (folder.status === 'problem') return;
  const { entries, unreadable } = await state.list();
  const fix = `nbdelta recover ${sources.join(' ')}`;
  for (const entry of entries.filter(({ record }) => concernsGuest(record, guest, sources))) {
    yield entry.purpose === 'session' ? sessionFinding(entry, fix) : await backupFinding(entry, fix);
  }
  for (const { run, why } of unreadable) {
    const text = `what is remembered of run ${run} is unreadable: ${why}`;
    yield { id: 'run-unreadable', status: 'warning', text, fix: `see runs/${run}.json in ${state.path}` };
  }
}

async function examineFolder(path: string): Promise<Finding> {
  const id = 'state-folder';
  const { existing, why } = await nearestWritable(path);
  if (why !== undefined) {
    const text = `${existing} cannot be written to: ${why}; a run is written down in ${path} before it begins`;
    return { id, status: 'problem', text, fix: 'choose another folder with --state-dir' };
  }
  const text = existing === path ? `${path} is writable` : `${path} is not there yet; it can be made`;
  return { id, status: 'ok', text };
}

/** The folder itself, or the nearest one above it that is there, and why it cannot be written to. */
async function nearestWritable(
  path: string,
): Promise<{ readonly existing: string; readonly why: string | undefined }> {
  try {
    await access(path, constants.W_OK | constants.X_OK);
    return { existing: path, why: undefined };
  } catch (error) {
    const isMissing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    if (isMissing && dirname(path) !== path) return await nearestWritable(dirname(path));
    return { existing: path, why: errorLine(error) };
  }
}

function sessionFinding(entry: JournalEntry, fix: string): Finding {
  const { record, expires } = entry;
  if (isExpired(entry)) {
    const text = `session ${record.run} was abandoned: it lasted until ${expires}`;
    return { id: 'run-left', status: 'warning', text, fix };
  }
  const text = `session ${record.run} lasts until ${expires}; no second job can begin before it ends`;
  return {
    id: 'run-alive',
    status: 'problem',
    text,
    fix: `nbdelta session end ${record.run} --commit or --abort`,
  };
}

async function backupFinding({ record, process }: JournalEntry, fix: string): Promise<Finding> {
  if (process !== null && !(await isCertainlyGone(process, procProbe))) {
    const text = `backup ${record.run} is running: process ${process.pid} on ${process.host}`;
    return { id: 'run-alive', status: 'problem', text, fix: 'wait for its end' };
  }
  const text = `backup ${record.run} died; the next backup to its repository puts it right`;
  return { id: 'run-left', status: 'warning', text, fix };
}
