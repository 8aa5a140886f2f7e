import { errorLine } from '../../errors.js';
import type { Action, FrontEnd, Guest } from '../../hypervisor/front-end.js';
import type { FrontEndOptions } from '../../hypervisor/front-end-options.js';
import { ownerTag, parseRunName } from '../../hypervisor/run-name.js';
import { isCertainlyGone, procProbe } from '../../repository/process-identity.js';
import type { Repository } from '../../repository/repository.js';
import type { JournalEntry } from '../journal/journal-entry.js';
import { StateFolder } from '../journal/state-folder.js';
import { useRepository } from '../open-repository.js';
import { concernsGuest } from './concerns-guest.js';
import { openSources } from './front-end-of.js';
import type { GuestSource } from './guest-backup-options.js';
import { recoverMachine } from './recover-machine.js';
import { isExpired, leftSession, sessionOwner } from './sessions.js';

export interface RecoverOptions extends FrontEndOptions {
  readonly source: GuestSource | readonly GuestSource[];
  /** Where the guest's points are: tells which checkpoints count. Found in the state folder when not given. */
  readonly repository?: string | Repository | undefined;
  readonly machine?: string | undefined;
  /** Also ends sessions that have not expired, and jobs of nbdelta that nothing is remembered of. */
  readonly force?: boolean | undefined;
  readonly stateDir?: string | undefined;
}

export interface RecoverResult {
  readonly guest: string;
  /** What was put right, and what was left on purpose. */
  readonly actions: readonly Action[];
}

/**
 * Ends what dead runs and abandoned sessions left at a guest: jobs, uncommitted checkpoints, scratch files, folders.
 * A backup that is alive, a session that has not expired, and everything of somebody else stay.
 */
export async function recover(options: RecoverOptions): Promise<RecoverResult> {
  await using frontEnd = await openSources(options.source, options);
  const guest = await frontEnd.inspect({});
  const recovery = new Recovery(options, frontEnd, guest);
  await recovery.execute();
  return { guest: guest.name, actions: recovery.actions };
}

class Recovery {
  readonly actions: Action[] = [];
  readonly #options: RecoverOptions;
  readonly #frontEnd: FrontEnd;
  readonly #guest: Guest;
  readonly #state: StateFolder;
  /** Machines whose leftovers were seen to; by the tag of their names. */
  readonly #done = new Set<string>();
  /** Runs that somebody looks after. */
  readonly #alive = new Set<string>();

  constructor(options: RecoverOptions, frontEnd: FrontEnd, guest: Guest) {
    this.#options = options;
    this.#frontEnd = frontEnd;
    this.#guest = guest;
    this.#state = new StateFolder(options.stateDir);
  }

  async execute(): Promise<void> {
    const { repository, machine } = this.#options;
    if (repository !== undefined) await this.#recoverIn(repository, machine ?? this.#guest.name);
    const { entries, unreadable } = await this.#state.list();
    for (const entry of entries.filter(({ record }) => this.#isOfGuest(record))) await this.#settle(entry);
    for (const { run, why } of unreadable) {
      this.actions.push({
        what: 'left',
        name: run,
        text: `what is remembered of run ${run} is unreadable: ${why}`,
      });
    }
    if (this.#options.force) await this.#sweepUnknown();
    else await this.#tellUnknown();
  }

  #isOfGuest(record: JournalEntry['record']): boolean {
    const given = [this.#options.source]
      .flat()
      .map(source => (typeof source === 'string' ? source : source.source));
    return concernsGuest(record, this.#guest, given);
  }

  async #settle(entry: JournalEntry): Promise<void> {
    await (entry.purpose === 'session' ? this.#settleSession(entry) : this.#settleBackup(entry));
  }

  async #settleSession(entry: JournalEntry): Promise<void> {
    const { record, expires } = entry;
    if (!isExpired(entry) && !this.#options.force) {
      this.#leave(
        record.run,
        `session ${record.run} lasts until ${expires}; end it with \`nbdelta session end\`, or --force`,
      );
      return;
    }
    try {
      this.actions.push(...(await this.#frontEnd.end(record, 'abort')));
      await this.#state.remove(record.run);
    } catch (error) {
      this.actions.push(leftSession(record, error));
    }
  }

  async #settleBackup(entry: JournalEntry): Promise<void> {
    const { record, process, repository, machine } = entry;
    // Done already, with the repository that was given.
    if ((await this.#state.get(record.run)) === undefined) return;
    if (process !== null && !(await isCertainlyGone(process, procProbe))) {
      this.#leave(
        record.run,
        `the backup ${record.run} is still running: process ${process.pid} on ${process.host}`,
      );
      return;
    }
    if (repository === null || machine === null) {
      this.#leave(
        record.run,
        `which repository the backup ${record.run} writes to is not remembered: give --repo`,
      );
      return;
    }
    await this.#recoverIn(repository, machine);
  }

  #leave(run: string, text: string): void {
    this.#alive.add(run);
    this.actions.push({ what: 'left', name: run, text });
  }

  /** Under the machine's lock: whoever holds it knows that no backup of the machine is alive. */
  async #recoverIn(location: string | Repository, name: string): Promise<void> {
    try {
      const repository = await useRepository(location);
      const owner = ownerTag(repository.description.id, name);
      if (this.#done.has(owner)) return;
      const machine = repository.machine(name);
      await using lock = await machine.lock('recover');
      const [frontEnd, options, state] = [this.#frontEnd, this.#options, this.#state];
      this.actions.push(...(await recoverMachine({ machine, lock, owner, frontEnd, options, state })));
      this.#done.add(owner);
    } catch (error) {
      // With the repository named by the user it is his mistake; remembered ones may be gone, and others go on.
      if (location === this.#options.repository) throw error;
      const text = `machine ${name} in ${String(location)}: ${errorLine(error)}`;
      this.actions.push({ what: 'left', name, text });
    }
  }

  /** Ends jobs only: which of the checkpoints count, their owners alone know. */
  async #sweepUnknown(): Promise<void> {
    const names = await this.#frontEnd.listCheckpoints();
    const keep = names.map(name => ({ name, definition: undefined }));
    const isAlive = (run: string) => this.#alive.has(run);
    this.actions.push(...(await this.#frontEnd.sweep({ owner: undefined, keep, isAlive })));
  }

  async #tellUnknown(): Promise<void> {
    const names = await this.#frontEnd.listCheckpoints();
    const unknown = names.filter(name => {
      const owner = parseRunName(name)?.owner;
      return owner !== undefined && owner !== sessionOwner() && !this.#done.has(owner);
    });
    if (unknown.length === 0) return;
    const text = `kept, as no repository that is known says whether they count: ${unknown.join(', ')}; give --repo`;
    this.actions.push({ what: 'left', name: 'checkpoints', text });
  }
}
