import { errorLine, HypervisorError } from '../../errors.js';
import type { Action } from '../front-end.js';
import { LocalHost } from '../host/local-host.js';
import type { SessionRecord } from '../session-record.js';
import { deleteCheckpoint } from './delete-checkpoint.js';
import type { Domain } from './domain-xml.js';
import { type JobDetails, jobDetails } from './job-details.js';
import type { LibvirtConnection } from './libvirt-connection.js';
import { domainOf, isOwnJob } from './own-job.js';
import { pollUntil } from './poll-until.js';
import { thawGuest } from './quiesce.js';

/** How long libvirt may take to end a job, and to remove its files. */
const ENDING_MS = 60_000;
const FILES_MS = 10_000;

/** Ends the job of a record and removes what it made; see `FrontEnd.end`. Nothing that is there not any more is missed. */
export async function endJob(
  connection: LibvirtConnection,
  record: SessionRecord,
  outcome: 'commit' | 'abort',
): Promise<readonly Action[]> {
  return await new EndingJob(connection, record).end(outcome);
}

class EndingJob {
  readonly #connection: LibvirtConnection;
  readonly #record: SessionRecord;
  readonly #details: JobDetails;
  readonly #actions: Action[] = [];
  readonly #failures: unknown[] = [];

  constructor(connection: LibvirtConnection, record: SessionRecord) {
    this.#connection = connection;
    this.#record = record;
    this.#details = jobDetails(record);
  }

  async end(outcome: 'commit' | 'abort'): Promise<readonly Action[]> {
    const domain = await findDomain(this.#connection, domainOf(this.#record));
    if (domain?.id !== undefined) {
      await this.#step(() => this.#thaw(domain.uuid));
      await this.#step(() => this.#endJob(domain.uuid));
      await this.#step(() => this.#resume(domain));
    }
    if (domain !== undefined && outcome === 'abort') await this.#step(() => this.#dropCheckpoint(domain));
    // As long as the job runs, its files and its socket are in use.
    if (this.#failures.length === 0) {
      await this.#step(() => this.#removeScratch());
      await this.#step(() => this.#removeFolders());
    }
    if (this.#failures.length > 0) throw this.#failure();
    return this.#actions;
  }

  /** One step that fails must not keep the others from being done. */
  async #step(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#failures.push(error);
    }
  }

  #failure(): HypervisorError {
    const { run, guest } = this.#record;
    const why = this.#failures.map(errorLine).join('; ');
    return new HypervisorError(
      'HYPERVISOR_FAILED',
      `run ${run} of ${guest.name} was not ended completely: ${why}`,
      {
        cause: this.#failures[0],
        hint: 'it can be ended again; the next backup does, or: nbdelta recover',
      },
    );
  }

  /** A run that died while it began may have frozen the guest. */
  async #thaw(uuid: string): Promise<void> {
    if (this.#record.state !== 'planned' || !this.#details.quiesce) return;
    const { name } = this.#record.guest;
    try {
      const thawed = await thawGuest(this.#connection.virsh, uuid);
      if (thawed > 0) this.#did('guest-thawed', name, `${thawed} file systems of ${name} were thawed`);
    } catch (error) {
      // A guest without an agent any more is frozen by nobody; it must not keep every later backup from beginning.
      if (!(error instanceof HypervisorError) || error.code !== 'AGENT_FAILED') throw error;
      const text = `whether ${name} is frozen is not known: ${errorLine(error)}; if it is: virsh domfsthaw ${name}`;
      this.#did('left', name, text);
    }
  }

  async #endJob(uuid: string): Promise<void> {
    const { run, guest } = this.#record;
    if (!isOwnJob(await this.#connection.backup(uuid), this.#details)) return;
    await abortJob(this.#connection, uuid, guest.name);
    this.#did('job-ended', run, `the backup job of ${guest.name} was ended`);
  }

  /** A guest that a full scratch stopped goes on: QEMU writes again what it could not. */
  async #resume({ uuid, id, name }: Domain): Promise<void> {
    if (!this.#details.ranAtBegin || id !== this.#details.domainId) return;
    const action = await resumeAfterError(this.#connection, uuid, name);
    if (action !== undefined) this.#actions.push(action);
  }

  async #dropCheckpoint(domain: Domain): Promise<void> {
    const { checkpoint } = this.#record;
    if (checkpoint === null) return;
    const known = await this.#connection.checkpoints(domain.uuid);
    if (!known.includes(checkpoint)) return;
    this.#actions.push(...(await deleteCheckpoint(this.#connection, domain, checkpoint)));
  }

  /** libvirt removes them a moment after the job has ended; after a crash of QEMU it may not. */
  async #removeScratch(): Promise<void> {
    const { host } = this.#connection;
    const files = this.#details.scratch.filter(({ isDevice }) => !isDevice).map(({ path }) => path);
    const hasEnded = this.#actions.some(({ what }) => what === 'job-ended');
    await pollUntil(async () => !(await anyExists(host, files)), hasEnded ? FILES_MS : 0);
    for (const path of files) {
      if (await host.removeFile(path))
        this.#did('file-removed', path, `scratch file ${path} was left and is removed`);
    }
  }

  async #removeFolders(): Promise<void> {
    const { folder, localFolder } = this.#details;
    if (localFolder !== null) {
      await this.#connection.host.unforward(localFolder);
      await new LocalHost().removeFolder(localFolder);
    }
    if (folder !== null) await this.#connection.host.removeFolder(folder);
  }

  #did(what: Action['what'], name: string, text: string): void {
    this.#actions.push({ what, name, text });
  }
}

/** The domain; `undefined` when there is none any more. */
async function findDomain(connection: LibvirtConnection, uuid: string): Promise<Domain | undefined> {
  try {
    return await connection.domain(uuid);
  } catch (error) {
    if (error instanceof HypervisorError && error.code === 'GUEST_UNKNOWN') return undefined;
    throw error;
  }
}

/** Ends the backup job that runs; whoever calls knows that it is nbdelta's. Returns when it is gone. */
export async function abortJob(connection: LibvirtConnection, uuid: string, name: string): Promise<void> {
  try {
    await connection.virsh.domain(uuid, 'domjobabort');
  } catch (error) {
    // It may have ended by itself just now.
    if ((await connection.backup(uuid)) !== undefined) throw error;
  }
  const isGone = await pollUntil(async () => (await connection.backup(uuid)) === undefined, ENDING_MS);
  if (isGone) return;
  throw new HypervisorError(
    'HYPERVISOR_FAILED',
    `the backup job of ${name} did not end within ${ENDING_MS / 1000} s`,
    {
      hint: 'see `virsh domjobinfo`; is a reader still connected?',
    },
  );
}

/** Resumes a guest that an I/O error stopped; if its own storage is at fault, it merely stops again. */
export async function resumeAfterError(
  connection: LibvirtConnection,
  uuid: string,
  name: string,
): Promise<Action | undefined> {
  const { state, reason } = await connection.state(uuid);
  if (state !== 'paused' || reason !== 'I/O error') return undefined;
  await connection.virsh.domain(uuid, 'resume');
  return { what: 'guest-resumed', name, text: `${name} was stopped by an I/O error, and has been resumed` };
}

async function anyExists(host: LibvirtConnection['host'], paths: readonly string[]): Promise<boolean> {
  for (const path of paths) if (await host.exists(path)) return true;
  return false;
}
