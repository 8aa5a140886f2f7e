import { dirname } from 'node:path';
import { toNbdeltaError } from '../../errors.js';
import type { SessionRecord } from '../session-record.js';
import { type JobDetails, jobDetails } from './job-details.js';
import type { LibvirtConnection } from './libvirt-connection.js';
import { confirmOnce, domainOf, isUnreachable } from './own-job.js';
import { scratchFull } from './scratch.js';

/** A guest that writes 1 GiB/s fills the reserve of 256 MiB in one of them. */
const SPACE_MS = 250;
/** Every look is a command over ssh. */
const REMOTE_SPACE_MS = 3000;
const JOB_MS = 2000;
/** With more room than this a guest was not stopped by its scratch files. */
const SUSPICIOUS_ROOM = 64 << 20;

type Open = () => Promise<LibvirtConnection>;

/** Watches the scratch space and the job; see `FrontEnd.watch`. */
export function watchJob(open: Open, record: SessionRecord, onTrouble: (error: Error) => void): Disposable {
  return new JobWatch(open, record, onTrouble);
}

class JobWatch implements Disposable {
  readonly #open: Open;
  readonly #record: SessionRecord;
  readonly #details: JobDetails;
  readonly #onTrouble: (error: Error) => void;
  readonly #timers = new Set<NodeJS.Timeout>();
  #isOver = false;

  constructor(open: Open, record: SessionRecord, onTrouble: (error: Error) => void) {
    this.#open = open;
    this.#record = record;
    this.#details = jobDetails(record);
    this.#onTrouble = onTrouble;
    const places = this.#details.scratch.filter(({ isDevice }) => !isDevice).map(({ path }) => dirname(path));
    for (const place of new Set(places)) this.#every(SPACE_MS, () => this.#checkSpace(place));
    this.#every(JOB_MS, () => this.#checkJob());
  }

  [Symbol.dispose](): void {
    this.#isOver = true;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
  }

  #tell(error: Error): void {
    if (this.#isOver) return;
    this[Symbol.dispose]();
    this.#onTrouble(error);
  }

  /** The next look begins when the last one has ended: libvirt may be slow. */
  #every(ms: number, look: () => Promise<number>): void {
    if (this.#isOver) return;
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      look().then(
        next => this.#every(next, look),
        // QEMU goes on without libvirtd and without us; in the end the job's health decides.
        error => (isUnreachable(error) ? this.#every(JOB_MS, look) : this.#tell(toNbdeltaError(error))),
      );
    }, ms);
    // Watching alone keeps no process alive.
    timer.unref();
    this.#timers.add(timer);
  }

  /** Looks once; when to look again. */
  async #checkSpace(place: string): Promise<number> {
    const { host } = await this.#open();
    const { scratchReserve } = this.#details;
    const room = await host.freeBytes(place);
    if (room < scratchReserve) throw scratchFull(place, room, scratchReserve, 'the job is ended');
    return host.isLocal ? SPACE_MS : REMOTE_SPACE_MS;
  }

  async #checkJob(): Promise<number> {
    const connection = await this.#open();
    await confirmOnce(connection, this.#record);
    await this.#checkDevice(connection);
    await this.#checkGuest(connection);
    return JOB_MS;
  }

  /** Where free space is told wrongly (quotas, thin volumes): the guest has stopped, and the scratch may be why. */
  async #checkGuest(connection: LibvirtConnection): Promise<void> {
    const file = this.#details.scratch.find(({ isDevice }) => !isDevice);
    if (!this.#details.ranAtBegin || file === undefined) return;
    const { state, reason } = await connection.state(domainOf(this.#record));
    if (state !== 'paused' || reason !== 'I/O error') return;
    const place = dirname(file.path);
    const room = await connection.host.freeBytes(place);
    if (room < SUSPICIOUS_ROOM) throw scratchFull(place, room, SUSPICIOUS_ROOM, 'the guest was stopped');
  }

  /** A scratch device has no free space to ask for, only what the job has written so far. */
  async #checkDevice(connection: LibvirtConnection): Promise<void> {
    const device = this.#details.scratch.find(({ isDevice }) => isDevice);
    if (device?.size === undefined) return;
    const { temporaryUsed } = await connection.job(domainOf(this.#record));
    const room = device.size - (temporaryUsed ?? 0);
    const reserve = Math.min(this.#details.scratchReserve, device.size / 8);
    if (room < reserve) throw scratchFull(device.path, room, reserve, 'the job is ended');
  }
}
