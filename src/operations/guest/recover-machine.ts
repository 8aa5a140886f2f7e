import { errorLine, HypervisorError } from '../../errors.js';
import type { Action, BaseCheckpoint, FrontEnd } from '../../hypervisor/front-end.js';
import type { FrontEndOptions } from '../../hypervisor/front-end-options.js';
import type { SessionRecord } from '../../hypervisor/session-record.js';
import type { MachineLock } from '../../repository/lock.js';
import type { MachineStore } from '../../repository/machine-store.js';
import { neededCheckpoints } from '../../repository/needed-checkpoints.js';
import type { PointList } from '../../repository/point-list.js';
import { type JournalEntry, journalEntrySchema } from '../journal/journal-entry.js';
import type { StateFolder } from '../journal/state-folder.js';
import { withDefinitions } from './base-checkpoints.js';
import { openRecorded } from './front-end-of.js';

export interface MachineRecovery {
  readonly machine: MachineStore;
  /** Whoever holds it knows that no other run of this machine is alive. */
  readonly lock: MachineLock;
  readonly owner: string;
  readonly frontEnd: FrontEnd;
  readonly options: FrontEndOptions;
  readonly state: StateFolder;
}

/**
 * Puts right what runs of this machine left that died: the one in the journal is ended, as committed when its point
 * is in the repository, otherwise with its checkpoint removed; then whatever else carries the machine's names.
 * Checkpoints that no point needs any more go; with points that cannot be read nobody knows, and all stay.
 */
export async function recoverMachine(recovery: MachineRecovery): Promise<readonly Action[]> {
  const { machine, lock, frontEnd, owner, state } = recovery;
  const list = await machine.listPoints();
  const actions: Action[] = [];
  const pending = await readPending(machine);
  if (pending !== undefined) {
    actions.push(...(await endDeadRun(recovery, pending.record, list)));
    await state.remove(pending.record.run);
    await machine.clearPending(lock);
  }
  const keep = await checkpointsToKeep(machine, frontEnd, list);
  actions.push(...(await frontEnd.sweep({ owner, keep, isAlive: () => false })));
  return actions;
}

/** The machine's journal. What is not ours, or of a newer version, is an error: guessing could end a living job. */
async function readPending(machine: MachineStore): Promise<JournalEntry | undefined> {
  const document = await machine.readPending();
  if (document === null) return undefined;
  const parsed = journalEntrySchema.safeParse(document);
  if (parsed.success) return parsed.data;
  throw new HypervisorError(
    'HYPERVISOR_FAILED',
    `machine ${machine.name}: the journal of its last run (pending.json) cannot be read`,
    {
      cause: parsed.error,
      hint: 'it may be of a newer version; see what it names, end that by hand, and remove the file',
    },
  );
}

async function endDeadRun(
  { frontEnd, options }: MachineRecovery,
  record: SessionRecord,
  { points }: PointList,
): Promise<readonly Action[]> {
  const isCommitted = points.some(({ manifest }) => manifest.guest?.run === record.run);
  const outcome = isCommitted ? 'commit' : 'abort';
  if (isOf(frontEnd, record)) return await frontEnd.end(record, outcome);
  // It was begun through another door, e.g. while the domain was another one's image.
  await using other = await openRecorded(record, options);
  try {
    return await other.end(record, outcome);
  } catch (error) {
    return [left(record, error)];
  }
}

/** Whether the front-end at hand is the one that began the run. */
function isOf(frontEnd: FrontEnd, record: SessionRecord): boolean {
  return frontEnd.kind === record.kind;
}

function left({ run, sources }: SessionRecord, error: unknown): Action {
  const text = `what run ${run} made at ${sources.join(', ')} could not be removed: ${errorLine(error)}`;
  return { what: 'left', name: run, text };
}

/** Committed checkpoints that are still needed; all that there are, when a point cannot be read. */
export async function checkpointsToKeep(
  machine: MachineStore,
  frontEnd: FrontEnd,
  { points, unreadable }: PointList,
): Promise<readonly BaseCheckpoint[]> {
  if (unreadable.length === 0) return await withDefinitions(machine, neededCheckpoints(points));
  const names = await frontEnd.listCheckpoints();
  return names.map(name => ({ name, definition: undefined }));
}
