import { randomBytes } from 'node:crypto';
import { open, readdir, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { errorLine, StorageError } from '../../errors.js';
import { parseRunName } from '../../hypervisor/run-name.js';
import { makeFolders } from '../../process/make-folders.js';
import { withCleanUp } from '../clean-up.js';
import {
  decodeJournalEntry,
  encodeJournalEntry,
  JOURNAL_ENTRY_MAX_BYTES,
  type JournalEntry,
} from './journal-entry.js';

/** An entry that is there but cannot be read: which run it was of is all that is known. */
export interface UnreadableEntry {
  readonly run: string;
  readonly why: string;
}

/** `$XDG_STATE_HOME/nbdelta`, as the XDG base directory specification has it. */
export function defaultStateFolder(env: NodeJS.ProcessEnv = process.env): string {
  const base = env['XDG_STATE_HOME'];
  // The specification: a relative path is to be ignored.
  return join(base?.startsWith('/') ? base : join(homedir(), '.local', 'state'), 'nbdelta');
}

/**
 * The folder that remembers running jobs: one file for each, `runs/RUN.json`, private to its user, because a record
 * says where disks can be read. Losing it is survivable: the names in the hypervisor tell as well.
 */
export class StateFolder {
  readonly path: string;

  constructor(path: string = defaultStateFolder()) {
    this.path = resolve(path);
  }

  get #runs(): string {
    return join(this.path, 'runs');
  }

  /** Writes or replaces a run's entry, durably. @throws StorageError. */
  async put(entry: JournalEntry): Promise<void> {
    const file = this.#file(entry.record.run);
    const temporary = join(this.#runs, `.${randomBytes(8).toString('hex')}`);
    try {
      await makeFolders(this.#runs, 0o700);
      const handle = await open(temporary, 'wx', 0o600);
      try {
        await handle.writeFile(encodeJournalEntry(entry));
        await handle.sync();
      } finally {
        await handle.close();
      }
      await rename(temporary, file);
    } catch (cause) {
      throw await withCleanUp(failed('write', file, cause), () => rm(temporary, { force: true }));
    }
  }

  /** A run's entry; `undefined` when there is none. @throws StorageError when it cannot be read. */
  async get(run: string): Promise<JournalEntry | undefined> {
    if (parseRunName(run) === undefined) return undefined;
    const file = this.#file(run);
    try {
      return await readEntry(file, run);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw failed('read', file, cause);
    }
  }

  /** Forgets a run. Safe twice. @throws StorageError. */
  async remove(run: string): Promise<void> {
    try {
      await rm(this.#file(run), { force: true });
    } catch (cause) {
      throw failed('remove', this.#file(run), cause);
    }
  }

  /** All runs that are remembered, oldest first. */
  async list(): Promise<{
    readonly entries: readonly JournalEntry[];
    readonly unreadable: readonly UnreadableEntry[];
  }> {
    const entries: JournalEntry[] = [];
    const unreadable: UnreadableEntry[] = [];
    for (const run of await this.#names()) {
      try {
        const entry = await this.get(run);
        if (entry !== undefined) entries.push(entry);
      } catch (error) {
        unreadable.push({ run, why: errorLine(error) });
      }
    }
    entries.sort((a, b) => a.record.startedAt.localeCompare(b.record.startedAt));
    return { entries, unreadable };
  }

  async #names(): Promise<string[]> {
    try {
      const files = await readdir(this.#runs);
      return files
        .filter(file => file.endsWith('.json'))
        .map(file => file.slice(0, -'.json'.length))
        .filter(run => parseRunName(run) !== undefined);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw failed('list', this.#runs, cause);
    }
  }

  #file(run: string): string {
    return join(this.#runs, `${run}.json`);
  }
}

async function readEntry(file: string, run: string): Promise<JournalEntry> {
  const handle = await open(file, 'r');
  try {
    const { size } = await handle.stat();
    if (size > JOURNAL_ENTRY_MAX_BYTES) {
      throw new Error(`it has ${size} bytes, expected at most ${JOURNAL_ENTRY_MAX_BYTES}`);
    }
    const entry = decodeJournalEntry(await handle.readFile('utf8'));
    if (entry.record.run !== run) throw new Error(`it is of run ${entry.record.run}`);
    return entry;
  } finally {
    await handle.close();
  }
}

function failed(what: string, path: string, cause: unknown): StorageError {
  return new StorageError(`cannot ${what} ${path}: ${errorLine(cause)}`, {
    cause,
    hint: 'the state folder remembers running jobs; choose another one with --state-dir',
    fields: { path },
  });
}
