import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { HypervisorError, UsageError } from '../../errors.js';
import type {
  Action,
  BeginRequest,
  DiskSelection,
  Finding,
  FrontEnd,
  Guest,
  GuestFile,
  SweepRequest,
} from '../front-end.js';
import type { FrontEndOptions } from '../front-end-options.js';
import type { HostUser } from '../host/host.js';
import { LocalHost } from '../host/local-host.js';
import { defaultSocketBase } from '../host/socket-folder.js';
import type { NamedSource } from '../open-front-end.js';
import { parseRunName, type RunName } from '../run-name.js';
import type { SessionRecord } from '../session-record.js';
import { beginJob } from './begin-job.js';
import { type Capabilities, readCapabilities, requireFeatures } from './capabilities.js';
import { listCheckpoints } from './checkpoints.js';
import { endJob, endJobOfDeadQemu } from './end-job.js';
import { examineQemu } from './examine-qemu.js';
import { inspectQemu, type QemuGuest } from './inspect-qemu.js';
import { refuseUnsafeDisks } from './io-threads.js';
import { checkJobHealth, jobLost } from './job-health.js';
import { planJob } from './plan-job.js';
import { QmpClient } from './qmp-client.js';
import { QemuGoneError, QmpLostError } from './qmp-error.js';
import { type RunPlaces, sweepRuns } from './sweep.js';
import { removeBitmaps } from './tear-down.js';
import { JobWatch } from './watch-job.js';

/** How often a connection that ends while the job is ended is made again. */
const END_ATTEMPTS = 5;
const END_PAUSE_MS = 200;

/**
 * Plain QEMU or qemu-storage-daemon, through a QMP unix socket. A monitor serves one client at a time: the front-end keeps
 * one connection from its first question until it is disposed, and hears the events of its jobs on it.
 */
export class QmpFrontEnd implements FrontEnd {
  readonly kind = 'qmp';
  readonly #host = new LocalHost();
  readonly #options: FrontEndOptions;
  readonly #source: string;
  readonly #socket: string;
  #client: Promise<QmpClient> | undefined;

  constructor(sources: readonly NamedSource[], options: FrontEndOptions) {
    const [first, ...others] = sources;
    if (first?.source.kind !== 'qmp' || others.length > 0) {
      throw new UsageError('a backup over QMP is of one QEMU: give one qmp:SOCKET');
    }
    this.#options = options;
    this.#socket = resolve(first.source.socket);
    // In the record it is read by processes in other folders.
    this.#source = `qmp:${this.#socket}`;
  }

  async inspect(selection: DiskSelection): Promise<Guest> {
    const client = await this.#open();
    await this.#requireFeatures(client);
    return withoutNodes(await inspectQemu(client, selection));
  }

  async begin(request: BeginRequest): Promise<SessionRecord> {
    if (request.quiesce !== undefined) {
      throw new UsageError('--quiesce needs libvirt: over QMP there is no way to the guest agent', {
        hint: 'freeze the file systems with --pre-hook, or back up libvirt:DOMAIN',
      });
    }
    const run = runOf(request.run);
    const client = await this.#open(request.signal);
    await this.#requireFeatures(client);
    const guest = await inspectQemu(client, request.selection);
    if (guest.disks.length === 0) {
      throw new HypervisorError('GUEST_STATE', `guest ${guest.name} has no disk that could be backed up`);
    }
    if (!this.#options.allowIoThreads) await refuseUnsafeDisks(client, guest.disks);
    const plan = planJob(guest.disks, { run, bases: request.bases, checkpoint: request.checkpoint });
    const owner = await this.#owner();
    const door = { client, host: this.#host, options: this.#options, source: this.#source };
    return await beginJob({ ...door, owner, guest, run, plan, request });
  }

  async health(record: SessionRecord): Promise<void> {
    try {
      await checkJobHealth(await this.#open(), record);
    } catch (error) {
      if (error instanceof QemuGoneError) throw jobLost(record.run, 'QEMU is gone', error);
      throw error;
    }
  }

  watch(record: SessionRecord, onTrouble: (error: Error) => void): Disposable {
    const watch = new JobWatch(this.#host, record, onTrouble);
    void watch.start(() => this.#open());
    return watch;
  }

  async end(record: SessionRecord, outcome: 'commit' | 'abort'): Promise<readonly Action[]> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#endOnce(record, outcome);
      } catch (error) {
        // A QEMU that dies still takes connections, and cuts them. What was done by then is found done.
        if (!(error instanceof QmpLostError) || attempt === END_ATTEMPTS) throw error;
        await sleep(END_PAUSE_MS);
      }
    }
  }

  async #endOnce(record: SessionRecord, outcome: 'commit' | 'abort'): Promise<readonly Action[]> {
    let client: QmpClient;
    try {
      client = await this.#open();
    } catch (error) {
      if (error instanceof QemuGoneError) return await endJobOfDeadQemu(this.#host, record, outcome);
      throw error;
    }
    return await endJob(client, this.#host, record, outcome);
  }

  async dropCheckpoints(names: readonly string[]): Promise<readonly Action[]> {
    if (names.length === 0) return [];
    return await removeBitmaps(await this.#open(), name => names.includes(name));
  }

  async listCheckpoints(): Promise<readonly string[]> {
    return await listCheckpoints(await this.#open());
  }

  async sweep(request: SweepRequest): Promise<readonly Action[]> {
    return await sweepRuns(await this.#open(), this.#host, await this.#places(), request);
  }

  /** QEMU's command line defines the guest, and QEMU does not tell it. */
  async readFiles(): Promise<readonly GuestFile[]> {
    return [];
  }

  examine(selection: DiskSelection): AsyncIterable<Finding> {
    const parts = { host: this.#host, options: this.#options, socket: this.#socket };
    return examineQemu({ ...parts, open: () => this.#open(), places: () => this.#places() }, selection);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const client = await this.#client?.catch(() => undefined);
    this.#client = undefined;
    await client?.[Symbol.asyncDispose]();
    await this.#host[Symbol.asyncDispose]();
  }

  /** The one connection, made anew when it ended. */
  #open(signal?: AbortSignal): Promise<QmpClient> {
    if (this.#client !== undefined) return this.#client;
    const opening = QmpClient.open(this.#socket, { signal });
    const forget = () => {
      if (this.#client === opening) this.#client = undefined;
    };
    this.#client = opening;
    opening.then(client => client.closed.addEventListener('abort', forget, { once: true }), forget);
    return opening;
  }

  readonly #capabilities = new WeakMap<QmpClient, Capabilities>();

  async #requireFeatures(client: QmpClient): Promise<void> {
    const known = this.#capabilities.get(client) ?? (await readCapabilities(client));
    this.#capabilities.set(client, known);
    requireFeatures(known, client.version);
  }

  /** QEMU makes its socket as the user that it runs as. */
  async #owner(): Promise<HostUser> {
    const { uid, gid } = await stat(this.#socket);
    return { uid, gid };
  }

  async #places(): Promise<RunPlaces> {
    return {
      scratch: this.#options.scratch ?? '/var/tmp',
      sockets: this.#options.socketDir ?? (await defaultSocketBase(this.#host)),
    };
  }
}

function runOf(text: string): RunName {
  const run = parseRunName(text);
  if (run === undefined) throw new UsageError(`${JSON.stringify(text)} is no name of a run`);
  return run;
}

function withoutNodes(guest: QemuGuest): Guest {
  const disks = guest.disks.map(({ node: _node, qdev: _qdev, ...disk }) => disk);
  return { ...guest, disks };
}
