import type { StatusRun } from '../nbd/client/status-run.js';

/** What the change map needs of a client; `NbdClient` is one. Bytes. */
export interface StatusSource {
  readonly size: number;
  /** Names of the granted meta contexts. */
  readonly contexts: readonly string[];
  /** One BLOCK_STATUS command from `offset` on. */
  blockStatus(offset: number, length: number): Promise<ReadonlyMap<string, StatusRun>>;
}
