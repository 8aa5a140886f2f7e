import { join } from 'node:path';
import { AbortedError, errorLine, HypervisorError, type NbdeltaError, toNbdeltaError } from '../../errors.js';
import { formatNbdUri } from '../../nbd/protocol/uri.js';
import type { BeginRequest, Guest } from '../front-end.js';
import type { FrontEndOptions } from '../front-end-options.js';
import type { Host, HostUser } from '../host/host.js';
import { defaultSocketBase, makeSocketFolder, socketPath } from '../host/socket-folder.js';
import type { RunName } from '../run-name.js';
import type { SessionDisk, SessionRecord } from '../session-record.js';
import type { JobDetails, NbdServerPlace } from './job-details.js';
import { checkJobHealth } from './job-health.js';
import { jobActions } from './job-transaction.js';
import { startNbdServer } from './nbd-server.js';
import { frozenBitmap, type JobPlan, type PlannedDisk } from './plan-job.js';
import type { QmpClient } from './qmp-client.js';
import type { QmpArguments } from './qmp-codec.js';
import { QmpCommandError } from './qmp-error.js';
import { openScratchImage } from './scratch-image.js';
import { checkScratchSpace, DEFAULT_SCRATCH_RESERVE, forecastScratch } from './scratch-space.js';
import { tearDown } from './tear-down.js';
import { findTlsCredentials } from './tls-credentials.js';

export interface JobParts {
  readonly client: QmpClient;
  readonly host: Host;
  readonly options: FrontEndOptions;
  /** Whom QEMU runs as: the owner of its socket. */
  readonly owner: HostUser;
  readonly guest: Guest;
  readonly source: string;
  readonly run: RunName;
  readonly plan: JobPlan;
  readonly request: BeginRequest;
}

/**
 * Begins the job of a plan. What fails is undone before the error is thrown; the journal is written before the
 * first thing is made.
 */
export async function beginJob(parts: JobParts): Promise<SessionRecord> {
  const { client, request } = parts;
  const tlsCreds = parts.options.listen === undefined ? undefined : await findTlsCredentials(client);
  const record = await planRecord(parts);
  await request.journal(record);
  const steps = new JobSteps(parts, record.details as JobDetails);
  try {
    await steps.begin(tlsCreds);
    const running: SessionRecord = { ...record, state: 'running' };
    await checkJobHealth(client, running);
    await request.journal(running);
    return running;
  } catch (error) {
    throw await steps.undo(error);
  }
}

class JobSteps {
  readonly #parts: JobParts;
  readonly #details: JobDetails;
  #ownsServer = false;
  /** Whether bitmaps of this name are the run's own: one that was there before is somebody else's. */
  #ownsBitmaps = false;
  /** Folders that this run made: one that was there before is not removed. */
  readonly #folders: string[] = [];

  constructor(parts: JobParts, details: JobDetails) {
    this.#parts = parts;
    this.#details = details;
  }

  async begin(tlsCreds: string | undefined): Promise<void> {
    const { client, plan, run } = this.#parts;
    await this.#makeFolders();
    // First: a server of somebody else's is found before anything is made in QEMU.
    await startNbdServer(client, this.#details.server, tlsCreds);
    this.#ownsServer = true;
    for (const disk of plan.disks) {
      this.#checkAborted();
      await openScratchImage(client, this.#details.scratchFolder, disk);
    }
    this.#checkAborted();
    await this.#beginAll(jobActions(plan.disks, run.text));
    for (const disk of plan.disks) await this.#export(disk);
    this.#checkAborted();
  }

  async #beginAll(actions: readonly QmpArguments[]): Promise<void> {
    this.#ownsBitmaps = true;
    try {
      await this.#parts.client.execute('transaction', { actions });
    } catch (error) {
      // Refused is all of it undone by QEMU; without an answer all of it may be there.
      if (error instanceof QmpCommandError) this.#ownsBitmaps = false;
      throw error;
    }
  }

  async #makeFolders(): Promise<void> {
    const { host, options, owner, run } = this.#parts;
    if (this.#details.server.kind === 'unix') {
      const { path } = await makeSocketFolder(host, run.text, { base: options.socketDir, owner });
      this.#folders.push(path);
    }
    this.#folders.push(await this.#makeScratchFolder());
  }

  async #makeScratchFolder(): Promise<string> {
    const { host, options, owner, run } = this.#parts;
    try {
      return await host.makePrivateFolder(scratchBase(options), run.text, owner);
    } catch (cause) {
      const { code, message, fields } = toNbdeltaError(cause);
      const hint = 'give a folder that only you or root may write to with --scratch';
      throw new HypervisorError(code, `scratch files: ${message}`, { cause, hint, fields });
    }
  }

  async #export({ disk, names, base }: PlannedDisk): Promise<void> {
    await this.#parts.client.execute('block-export-add', {
      type: 'nbd',
      id: names.export,
      'node-name': names.scratchNode,
      name: disk.name,
      writable: false,
      bitmaps: base === undefined ? [] : [frozenBitmap(disk.name)],
    });
  }

  #checkAborted(): void {
    const { signal } = this.#parts.request;
    if (signal?.aborted) throw new AbortedError('the beginning of the backup job', signal.reason);
  }

  /** Removes what there is of the run. The error that comes back is the first one; it says what could not be removed. */
  async undo(error: unknown): Promise<unknown> {
    const { client, host, run } = this.#parts;
    const { server, guestRan: resume } = this.#details;
    const owned = { ownsServer: this.#ownsServer, folders: this.#folders, bitmaps: this.#ownsBitmaps };
    const target = { run, server, resume, ...owned };
    try {
      const left = (await tearDown(client, host, target)).filter(({ what }) => what === 'left');
      return left.length === 0 ? error : withLeftovers(error, left.map(({ text }) => text).join('; '));
    } catch (failure) {
      return withLeftovers(
        error,
        `what was begun of run ${run.text} could not be removed: ${errorLine(failure)}`,
      );
    }
  }
}

function withLeftovers(cause: unknown, left: string): NbdeltaError {
  const { code, message, hint, fields } = toNbdeltaError(cause);
  return new HypervisorError(code, `${message}; ${left}`, {
    cause,
    fields,
    ...(hint === undefined ? {} : { hint }),
  });
}

function scratchBase(options: FrontEndOptions): string {
  return options.scratch ?? '/var/tmp';
}

/** @throws HypervisorError SCRATCH_FULL. */
async function planRecord(parts: JobParts): Promise<SessionRecord> {
  const { client, host, options, guest, plan, run } = parts;
  const reserve = options.scratchReserve ?? DEFAULT_SCRATCH_RESERVE;
  const base = scratchBase(options);
  const free = await checkScratchSpace(host, base, reserve);
  const sizes = plan.disks.map(({ disk }) => disk.size);
  const server = await planServer(parts);
  const details: JobDetails = {
    qmpSocket: client.path,
    server,
    scratchFolder: join(base, run.text),
    scratchReserve: reserve,
    guestRan: guest.state === 'running',
    disks: plan.disks.map(({ disk, names }) => ({
      name: disk.name,
      job: names.job,
      export: names.export,
      scratchNode: names.scratchNode,
    })),
  };
  return {
    version: 1,
    run: run.text,
    kind: 'qmp',
    sources: [parts.source],
    connect: null,
    guest: { name: guest.name, id: guest.id },
    startedAt: run.startedAt.toISOString(),
    state: 'planned',
    checkpoint: plan.disks.some(({ checkpoint }) => checkpoint) ? run.text : null,
    since: plan.since,
    disks: plan.disks.map(disk => sessionDisk(disk, server, options)),
    warnings: [...forecastScratch(base, free, reserve, sizes)],
    details,
  };
}

async function planServer({ host, options, run }: JobParts): Promise<NbdServerPlace> {
  if (options.listen !== undefined) return { kind: 'tcp', ...options.listen };
  const folder = join(options.socketDir ?? (await defaultSocketBase(host)), run.text);
  return { kind: 'unix', folder, socket: socketPath(folder) };
}

function sessionDisk(
  { disk, base, reason }: PlannedDisk,
  server: NbdServerPlace,
  options: FrontEndOptions,
): SessionDisk {
  return {
    name: disk.name,
    size: disk.size,
    format: disk.format,
    source: disk.source,
    uri: exportUri(server, disk.name, options),
    bitmap: base === undefined ? null : frozenBitmap(disk.name),
    reason,
  };
}

function exportUri(server: NbdServerPlace, disk: string, options: FrontEndOptions): string {
  if (server.kind === 'unix') return formatNbdUri({ kind: 'unix', path: server.socket }, disk);
  const uri = formatNbdUri(server, disk).replace(/^nbd:/, 'nbds:');
  const folder = options.tlsCertificates;
  return folder === undefined ? uri : `${uri}?tls-certificates=${encodeURIComponent(folder)}`;
}
