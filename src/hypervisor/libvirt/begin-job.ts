import { AbortedError, errorLine, HypervisorError, NbdeltaError } from '../../errors.js';
import type { BeginRequest, Reason } from '../front-end.js';
import type { FrontEndOptions } from '../front-end-options.js';
import { LocalHost } from '../host/local-host.js';
import { makeSocketFolder, planSocketFolder } from '../host/socket-folder.js';
import { ioThreadError, outlivesReaders } from '../io-threads.js';
import type { SessionRecord } from '../session-record.js';
import { formatBackup, formatCheckpoint, type JobServer } from './backup-xml.js';
import { type ChosenBase, chooseBase, inconsistentBitmap } from './choose-base.js';
import { endJob } from './end-job.js';
import type { DescribedGuest } from './guest-description.js';
import { type JobDetails, jobDetails } from './job-details.js';
import { type DiskPlan, planJobDisks, sessionDisks } from './job-plan.js';
import type { LibvirtConnection } from './libvirt-connection.js';
import { waitForNoJob } from './own-job.js';
import { qemuUser } from './qemu-user.js';
import { withFrozenGuest } from './quiesce.js';
import { forecastScratch, inspectScratch, type Scratch } from './scratch.js';
import { brokenBitmap } from './virsh-error.js';

/** Making the scratch of a LUKS disk alone takes QEMU seconds, half a minute on a busy machine. */
const BEGIN_MS = 300_000;

export interface BeginParts {
  readonly connection: LibvirtConnection;
  readonly described: DescribedGuest;
  /** As given: `libvirt:web1`. */
  readonly source: string;
  readonly request: BeginRequest;
}

/** Begins a pull-mode backup job and its checkpoint in one call; see `FrontEnd.begin`. */
export async function beginJob(parts: BeginParts): Promise<SessionRecord> {
  return await new BeginningJob(parts).begin();
}

/** @throws HypervisorError HYPERVISOR_TOO_OLD where reading would crash the guest. */
function refuseUnsafeDisks({ disks, guest }: DescribedGuest, { allowIoThreads }: FrontEndOptions): void {
  const threaded = disks.filter(disk => disk.inIoThread).map(({ target }) => target);
  const version = guest.versions['qemu'];
  if (threaded.length === 0 || allowIoThreads || version === undefined || outlivesReaders(version)) return;
  throw ioThreadError(threaded, version);
}

class BeginningJob {
  readonly #parts: BeginParts;
  readonly #warnings: Reason[] = [];

  constructor(parts: BeginParts) {
    this.#parts = parts;
  }

  async begin(): Promise<SessionRecord> {
    const { connection, described, request } = this.#parts;
    const { domain, disks } = described;
    refuseUnsafeDisks(described, connection.options);
    await waitForNoJob(connection, domain.uuid, domain.name);
    const scratch = await inspectScratch(connection, disks.length);
    this.#warnings.push(
      ...forecastScratch(
        scratch,
        disks.map(disk => disk.size),
      ),
    );
    const names = disks.map(disk => disk.target);
    const base = await chooseBase(connection, domain, names, request.bases);
    this.#warnings.push(...base.warnings);
    const plan = planJobDisks(disks, { ...request, scratch, base });
    const planned = await this.#plannedRecord(scratch, plan);
    request.signal?.throwIfAborted();
    await request.journal(planned);
    try {
      return await this.#make(planned, plan, base);
    } catch (error) {
      throw await cleanedUp(connection, planned, error, request.journal);
    }
  }

  async #plannedRecord(scratch: Scratch, plan: readonly DiskPlan[]): Promise<SessionRecord> {
    const { connection, described, source, request } = this.#parts;
    const { domain, guest } = described;
    const { host, options } = connection;
    const base = options.socketDir;
    const folder = options.listen ? null : await planSocketFolder(host, request.run, { base });
    const local =
      folder === null || host.isLocal
        ? null
        : await planSocketFolder(new LocalHost(), request.run, { base: undefined });
    const details: JobDetails = {
      mode: 'job',
      domainId: domain.id ?? -1,
      server: jobServer(connection, folder?.socket),
      folder: folder?.path ?? null,
      localFolder: local?.path ?? null,
      scratch: plan.map(({ job }) => ({
        ...{ disk: job.name, ...job.scratch },
        ...(scratch.isDevice ? { size: scratch.room } : {}),
      })),
      scratchReserve: scratch.reserve,
      ranAtBegin: guest.state === 'running',
      quiesce: request.quiesce !== undefined,
    };
    return {
      ...{ version: 1, run: request.run, kind: 'libvirt', sources: [source] },
      connect: options.connect ?? null,
      guest: { name: domain.name, id: domain.uuid },
      startedAt: new Date().toISOString(),
      state: 'planned',
      checkpoint: plan.some(({ job }) => job.hasCheckpoint) ? request.run : null,
      since: null,
      disks: [],
      warnings: [],
      details,
    };
  }

  async #make(planned: SessionRecord, plan: readonly DiskPlan[], base: ChosenBase): Promise<SessionRecord> {
    const { connection, described, request } = this.#parts;
    const { host, options } = connection;
    const { folder, localFolder, server } = jobDetails(planned);
    if (folder !== null) {
      const owner = await qemuUser(connection, described.domain);
      await makeSocketFolder(host, request.run, { base: options.socketDir, owner });
    }
    const begun = await this.#start(planned, plan);
    request.signal?.throwIfAborted();
    let reached: JobServer = server;
    if (localFolder !== null && server.kind === 'unix') {
      await makeSocketFolder(new LocalHost(), request.run, { base: undefined });
      reached = { kind: 'unix', socket: await host.forward(server.socket, localFolder) };
    }
    const backup = await connection.backup(described.domain.uuid);
    if (backup === undefined)
      throw new HypervisorError('JOB_LOST', 'the backup job ended as soon as it was begun');
    const disks = sessionDisks(begun, backup, { server: reached, ...this.#addressing() });
    const since = disks.some(disk => disk.bitmap !== null) ? base.name : null;
    const running = { since, disks: [...disks], warnings: [...this.#warnings] };
    const record: SessionRecord = { ...planned, ...running, state: 'running' };
    await request.journal(record);
    return record;
  }

  #addressing() {
    const { host, options } = this.#parts.connection;
    return {
      certificates: options.tlsCertificates,
      // ssh's destination may be `user@host`.
      hostName: host.isLocal ? 'localhost' : host.name.replace(/^.*@/, ''),
    };
  }

  async #start(planned: SessionRecord, plan: readonly DiskPlan[]): Promise<readonly DiskPlan[]> {
    const { connection, described, request } = this.#parts;
    const start = () => this.#startWithFallback(planned, plan);
    if (request.quiesce === undefined) return await start();
    return await withFrozenGuest(connection.virsh, described.domain.uuid, request.quiesce, start);
  }

  /** A bitmap that only now turns out to be broken costs its disk a full, and nothing else. */
  async #startWithFallback(planned: SessionRecord, plan: readonly DiskPlan[]): Promise<readonly DiskPlan[]> {
    for (let current = plan; ; ) {
      try {
        await this.#backupBegin(planned, current);
        return current;
      } catch (error) {
        const broken = brokenBitmap(error);
        const isOurs = ({ job }: DiskPlan) => job.name === broken?.disk && job.since !== null;
        if (broken === undefined || !current.some(isOurs)) throw error;
        const reason = inconsistentBitmap(broken.disk, broken.bitmap);
        current = current.map(entry =>
          isOurs(entry) ? { ...entry, job: { ...entry.job, since: null }, reason } : entry,
        );
      }
    }
  }

  async #backupBegin(planned: SessionRecord, plan: readonly DiskPlan[]): Promise<void> {
    const { connection, described } = this.#parts;
    const { domain } = described;
    const jobs = plan.map(({ job }) => job);
    const others = domain.disks.map(disk => disk.target).filter(name => !jobs.some(job => job.name === name));
    const { checkpoint } = planned;
    // No signal: killing virsh now would leave open whether the job began.
    await connection.virsh.domain(domain.uuid, 'backup-begin', {
      timeoutMs: BEGIN_MS,
      documents: {
        backupxml: formatBackup(jobDetails(planned).server, jobs, others),
        checkpointxml: checkpoint === null ? undefined : formatCheckpoint(checkpoint, jobs, others),
      },
    });
  }
}

function jobServer({ options }: LibvirtConnection, socket: string | undefined): JobServer {
  const { listen } = options;
  if (socket !== undefined) return { kind: 'unix', socket };
  if (listen === undefined) throw new NbdeltaError('INTERNAL', 'a job has neither a socket nor an address');
  return { kind: 'tcp', host: listen.host, port: listen.port };
}

/** Removes what was begun. What cannot be removed is said beside the error that came first. */
async function cleanedUp(
  connection: LibvirtConnection,
  planned: SessionRecord,
  error: unknown,
  journal: BeginRequest['journal'],
): Promise<unknown> {
  try {
    // The freeze, if any, has seen to its thaw: whoever ends this run again has none to make up for.
    const thawed = { ...planned, details: { ...planned.details, quiesce: false } };
    await endJob(connection, thawed, 'abort');
    if (jobDetails(planned).quiesce) await journal(thawed);
    return error;
  } catch (failure) {
    const left = `what run ${planned.run} made could not be removed: ${errorLine(failure)}`;
    if (error instanceof AbortedError) return new AbortedError('backup', error.cause, left);
    if (!(error instanceof NbdeltaError)) return error;
    const { code, hint, retryable, fields } = error;
    return new HypervisorError(code, `${error.message}; ${left}`, {
      ...{ cause: error, retryable, fields },
      ...(hint === undefined ? {} : { hint }),
    });
  }
}
