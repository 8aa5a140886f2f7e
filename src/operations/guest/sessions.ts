import { hostname } from 'node:os';
import { errorLine, HypervisorError } from '../../errors.js';
import type { Action, DiskSelection, FrontEnd, QuiesceRequest } from '../../hypervisor/front-end.js';
import type { FrontEndOptions } from '../../hypervisor/front-end-options.js';
import { newRunName, ownerTag, parseRunName } from '../../hypervisor/run-name.js';
import type { SessionRecord } from '../../hypervisor/session-record.js';
import { withCleanUp } from '../clean-up.js';
import type { JournalEntry } from '../journal/journal-entry.js';
import { StateFolder, type UnreadableEntry } from '../journal/state-folder.js';
import { CHECKPOINT_FILE } from './base-checkpoints.js';
import { openRecorded, openSources } from './front-end-of.js';
import type { GuestSource } from './guest-backup-options.js';

/** How long a session lasts when its owner says nothing. */
const DEFAULT_TTL_MS = 24 * 3600 * 1000;

export interface BeginSessionOptions extends FrontEndOptions, DiskSelection {
  readonly source: GuestSource | readonly GuestSource[];
  /** The checkpoint of an earlier session: its bitmap is published. Without it everything is to be read. */
  readonly since?: string | undefined;
  /** That checkpoint as `definition` of its session gave it, for a libvirt that forgot it. */
  readonly sinceDefinition?: string | undefined;
  /** Whether a new checkpoint begins; default yes. */
  readonly checkpoint?: boolean | undefined;
  /** After this the session counts as abandoned, and `recover` ends it. Milliseconds, default one day. */
  readonly ttlMs?: number | undefined;
  readonly quiesce?: QuiesceRequest | undefined;
  readonly stateDir?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A running job for somebody else to read. */
export interface Session {
  /** What `endSession` wants. */
  readonly token: string;
  readonly source: readonly string[];
  readonly guest: SessionRecord['guest'];
  readonly startedAt: string;
  readonly expires: string;
  /** Name for the next session's `since`, once this one is committed. */
  readonly checkpoint: string | null;
  readonly since: string | null;
  readonly disks: readonly {
    readonly name: string;
    readonly size: number;
    readonly uri: string;
    /** Meta context to ask for, e.g. `qemu:dirty-bitmap:backup-vda`; `null`: read everything. */
    readonly context: string | null;
    readonly reason: { readonly code: string; readonly text: string } | null;
  }[];
  readonly warnings: SessionRecord['warnings'];
}

export interface BegunSession extends Session {
  /** The new checkpoint as libvirt keeps it: keep it with the data; see `sinceDefinition`. */
  readonly definition: string | null;
}

/** The tag of sessions: their checkpoints belong to whoever drives them, not to a repository. */
export function sessionOwner(): string {
  return ownerTag('sessions', hostname());
}

/**
 * Begins a backup job that this process does not look after: read its exports with any NBD client, then end it.
 * @throws HypervisorError and others; nothing is left then.
 */
export async function beginSession(options: BeginSessionOptions): Promise<BegunSession> {
  await using frontEnd = await openSources(options.source, options);
  const state = new StateFolder(options.stateDir);
  const expires = new Date(Date.now() + (options.ttlMs ?? DEFAULT_TTL_MS)).toISOString();
  const run = newRunName(sessionOwner()).text;
  const entryOf = (record: SessionRecord): JournalEntry => ({
    ...{ version: 1, purpose: 'session', record, expires },
    ...{ process: null, repository: null, machine: null },
  });
  let record: SessionRecord;
  try {
    record = await frontEnd.begin({
      run,
      selection: options,
      bases:
        options.since === undefined ? [] : [{ name: options.since, definition: options.sinceDefinition }],
      checkpoint: options.checkpoint ?? true,
      quiesce: options.quiesce,
      lasting: true,
      journal: current => state.put(entryOf(current)),
      signal: options.signal,
    });
  } catch (error) {
    throw await withCleanUp(error, () => state.remove(run));
  }
  return { ...describe(entryOf(record)), definition: await readDefinition(frontEnd, record) };
}

async function readDefinition(frontEnd: FrontEnd, record: SessionRecord): Promise<string | null> {
  const files = await frontEnd.readFiles(record);
  const file = files.find(({ name }) => name === CHECKPOINT_FILE);
  return file === undefined ? null : Buffer.from(file.bytes).toString('utf8');
}

export interface EndSessionOptions extends FrontEndOptions {
  readonly token: string;
  /** `commit`: the data is safe, the checkpoint counts; `abort`: it is removed. */
  readonly outcome: 'commit' | 'abort';
  /** With `commit`: the session's base stays as well, for another incremental since it. */
  readonly keepSince?: boolean | undefined;
  readonly stateDir?: string | undefined;
}

export interface EndedSession {
  readonly token: string;
  readonly outcome: 'commit' | 'abort';
  /** The checkpoint that counts from now on; `null` after an abort. */
  readonly checkpoint: string | null;
  readonly actions: readonly Action[];
}

/**
 * Ends a session. A commit first asks whether the job was the same and healthy to the end; when it was not, the
 * session is aborted and that is the error: what was read must be thrown away.
 * @throws HypervisorError SESSION_UNKNOWN, JOB_LOST.
 */
export async function endSession(options: EndSessionOptions): Promise<EndedSession> {
  const { token, outcome } = options;
  const state = new StateFolder(options.stateDir);
  const entry = await findSession(state, token);
  const { record } = entry;
  await using frontEnd = await openRecorded(record, options);
  if (outcome === 'commit') await requireHealth(frontEnd, record, state);
  const actions = [...(await frontEnd.end(record, outcome))];
  if (outcome === 'commit' && options.keepSince !== true) {
    actions.push(...(await frontEnd.dropCheckpoints(supersededBy(record))));
  }
  await state.remove(token);
  return { token, outcome, checkpoint: outcome === 'commit' ? record.checkpoint : null, actions };
}

/** The session's base, if it is a session's checkpoint: others are not ours to remove. */
function supersededBy({ since, checkpoint }: SessionRecord): readonly string[] {
  if (since === null || checkpoint === null) return [];
  return parseRunName(since)?.owner === sessionOwner() ? [since] : [];
}

async function requireHealth(frontEnd: FrontEnd, record: SessionRecord, state: StateFolder): Promise<void> {
  try {
    await frontEnd.health(record);
  } catch (error) {
    throw await withCleanUp(error, async () => {
      await frontEnd.end(record, 'abort');
      await state.remove(record.run);
    });
  }
}

/** Whether a session's job is still the same and healthy. @throws HypervisorError JOB_LOST, SESSION_UNKNOWN. */
export async function checkSession(
  options: FrontEndOptions & { readonly token: string; readonly stateDir?: string | undefined },
): Promise<Session> {
  const entry = await findSession(new StateFolder(options.stateDir), options.token);
  await using frontEnd = await openRecorded(entry.record, options);
  await frontEnd.health(entry.record);
  return describe(entry);
}

async function findSession(state: StateFolder, token: string): Promise<JournalEntry> {
  const entry = await state.get(token);
  if (entry?.purpose === 'session') return entry;
  throw new HypervisorError('SESSION_UNKNOWN', `there is no session ${token} in ${state.path}`, {
    hint: 'see `nbdelta session list`; if the state folder was lost: `nbdelta recover SOURCE --force`',
    fields: { token, stateDir: state.path },
  });
}

export interface SessionListing {
  readonly sessions: readonly (Session & { readonly expired: boolean })[];
  readonly unreadable: readonly UnreadableEntry[];
}

/** All sessions that the state folder remembers, oldest first; asks no hypervisor. */
export async function listSessions(
  options: { readonly stateDir?: string | undefined } = {},
): Promise<SessionListing> {
  const { entries, unreadable } = await new StateFolder(options.stateDir).list();
  const sessions = entries
    .filter(entry => entry.purpose === 'session')
    .map(entry => ({ ...describe(entry), expired: isExpired(entry) }));
  return { sessions, unreadable };
}

export function isExpired({ expires }: JournalEntry, now = new Date()): boolean {
  return expires !== null && new Date(expires) <= now;
}

function describe({ record, expires }: JournalEntry): Session {
  const { run, sources, guest, startedAt, checkpoint, since, warnings } = record;
  return {
    ...{ token: run, source: sources, guest, startedAt, expires: expires ?? startedAt },
    ...{ checkpoint, since, warnings },
    disks: record.disks.map(({ name, size, uri, bitmap, reason }) => ({
      ...{ name, size, uri, reason },
      context: bitmap === null ? null : `qemu:dirty-bitmap:${bitmap}`,
    })),
  };
}

/** What became of a session that could not be ended, for a list of actions. */
export function leftSession(record: SessionRecord, error: unknown): Action {
  const text = `session ${record.run} could not be ended: ${errorLine(error)}`;
  return { what: 'left', name: record.run, text };
}
