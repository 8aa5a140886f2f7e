import { HypervisorError } from '../../errors.js';
import type { Host } from '../host/host.js';
import type { SessionRecord } from '../session-record.js';
import { type JobDetails, readJobDetails } from './job-details.js';
import { checkJobHealth, jobLost } from './job-health.js';
import type { QmpClient } from './qmp-client.js';
import type { QmpEvent } from './qmp-codec.js';
import { checkScratchSpace } from './scratch-space.js';

/** How often the free space is looked at. The reserve must last as long: 256 MiB at some hundred MiB/s. */
const SPACE_INTERVAL_MS = 500;

/** After these the jobs may not be what they were. */
const TELLING = ['JOB_STATUS_CHANGE', 'BLOCK_EXPORT_DELETED', 'BLOCK_JOB_ERROR', 'BLOCK_IO_ERROR'];

/**
 * Watches a job until disposed. Trouble is told once; QEMU's events only say when to look, because a guest whose scratch
 * space is full makes none for the job.
 */
export class JobWatch implements Disposable {
  readonly #host: Host;
  readonly #record: SessionRecord;
  readonly #details: JobDetails;
  readonly #onTrouble: (error: Error) => void;
  readonly #stop = new AbortController();

  constructor(host: Host, record: SessionRecord, onTrouble: (error: Error) => void) {
    this.#host = host;
    this.#record = record;
    this.#details = readJobDetails(record);
    this.#onTrouble = onTrouble;
  }

  /** Never rejects. */
  async start(open: () => Promise<QmpClient>): Promise<void> {
    try {
      const client = await open();
      if (this.#stop.signal.aborted) return;
      this.#watchEvents(client);
      this.#watchSpace();
      await this.#check(() => checkJobHealth(client, this.#record));
    } catch (error) {
      this.#tell(error);
    }
  }

  #watchEvents(client: QmpClient): void {
    const listening = client.onEvent(event => {
      if (this.#concerns(event)) void this.#check(() => checkJobHealth(client, this.#record));
      if (event.name === 'BLOCK_IO_ERROR') void this.#check(() => this.#checkSpace(event));
    });
    const onClosed = () => this.#tell(this.#lostWith(client));
    client.closed.addEventListener('abort', onClosed, { once: true });
    if (client.closed.aborted) onClosed();
    this.#stop.signal.addEventListener('abort', () => {
      listening[Symbol.dispose]();
      client.closed.removeEventListener('abort', onClosed);
    });
  }

  /** Our own jobs' events, and those that say nothing of whose they are. */
  #concerns({ name, data }: QmpEvent): boolean {
    if (!TELLING.includes(name)) return false;
    const id = data['id'];
    return typeof id !== 'string' || id.startsWith(this.#record.run);
  }

  #watchSpace(): void {
    const timer = setInterval(() => void this.#check(() => this.#checkSpace()), SPACE_INTERVAL_MS);
    this.#stop.signal.addEventListener('abort', () => clearInterval(timer));
  }

  async #checkSpace(event?: QmpEvent): Promise<void> {
    const { scratchFolder, scratchReserve } = this.#details;
    const free = await checkScratchSpace(this.#host, scratchFolder, scratchReserve);
    // The guest's own storage may be full, too; QEMU does not say which.
    if (event?.data['nospace'] !== true || free > 2 * scratchReserve) return;
    throw new HypervisorError(
      'SCRATCH_FULL',
      `a write of the guest found no space; ${scratchFolder} is full`,
      {
        hint: 'make space there, or choose another folder with --scratch',
      },
    );
  }

  async #check(look: () => Promise<void>): Promise<void> {
    try {
      if (!this.#stop.signal.aborted) await look();
    } catch (error) {
      this.#tell(error);
    }
  }

  #lostWith(client: QmpClient): Error {
    return jobLost(this.#record.run, `QEMU at ${client.path} is not heard any more`, client.closed.reason);
  }

  #tell(error: unknown): void {
    if (this.#stop.signal.aborted) return;
    this[Symbol.dispose]();
    const isKnown = error instanceof HypervisorError && ['JOB_LOST', 'SCRATCH_FULL'].includes(error.code);
    this.#onTrouble(isKnown ? error : jobLost(this.#record.run, 'QEMU cannot be asked', error));
  }

  [Symbol.dispose](): void {
    this.#stop.abort();
  }
}
