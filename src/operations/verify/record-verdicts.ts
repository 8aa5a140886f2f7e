import { errorLine, StorageError } from '../../errors.js';
import type { MachineStore } from '../../repository/machine-store.js';
import type { Verdict } from '../../repository/verdict.js';
import { readSoftware } from '../software.js';

/** A point that was looked at. */
interface Entry {
  readonly machine: MachineStore;
  readonly point: string;
  problems: number;
  differences: number;
}

/** What was found of each point, to be written down when the run has ended. */
export class VerdictBook {
  readonly #entries = new Map<string, Entry>();

  open(machine: MachineStore, point: string): void {
    const key = `${machine.name}@${point}`;
    if (!this.#entries.has(key)) this.#entries.set(key, { machine, point, problems: 0, differences: 0 });
  }

  count(machine: string, point: string | null, code: string): void {
    const entry = this.#entries.get(`${machine}@${point}`);
    if (entry === undefined) return;
    if (code === 'DATA_DIFFERS') entry.differences++;
    else entry.problems++;
  }

  /** @returns why the verdicts could not be written; `null` when they were. */
  async record(how: Pick<Verdict, 'how' | 'share'>): Promise<string | null> {
    for (const { machine, point, problems, differences } of this.#entries.values()) {
      const result = problems > 0 ? 'damaged' : differences > 0 ? 'differs' : 'ok';
      try {
        await machine.putVerdict(point, {
          ...{ format: 'nbdelta-verdict', version: 1, at: new Date().toISOString() },
          ...{ ...how, result, problems: problems + differences, software: readSoftware().version },
        });
      } catch (error) {
        // A repository that can only be read can be verified all the same.
        if (error instanceof StorageError) return errorLine(error);
        throw error;
      }
    }
    return null;
  }
}
