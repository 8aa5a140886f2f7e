import { UsageError } from '../../errors.js';
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
import type { NamedSource } from '../open-front-end.js';
import { parseRunName } from '../run-name.js';
import type { SessionRecord } from '../session-record.js';
import { beginJob } from './begin-job.js';
import { deleteCheckpoint } from './delete-checkpoint.js';
import { endJob } from './end-job.js';
import { examineDomain } from './examine-domain.js';
import { describeGuest } from './guest-description.js';
import { readGuestFiles } from './guest-files.js';
import { LibvirtConnection } from './libvirt-connection.js';
import { beginOff, isOffRecord, openOffRecord } from './off-domain.js';
import { confirmJob } from './own-job.js';
import { sweepDomain } from './sweep-domain.js';
import { watchJob } from './watch-job.js';

/** A domain of libvirt, driven through virsh. */
export class LibvirtFrontEnd implements FrontEnd {
  readonly kind = 'libvirt';
  readonly #source: string;
  readonly #domain: string;
  readonly #options: FrontEndOptions;
  #connection: Promise<LibvirtConnection> | undefined;

  /** @throws UsageError unless the source is one domain. */
  constructor(sources: readonly NamedSource[], options: FrontEndOptions) {
    const [first, ...more] = sources;
    if (first?.source.kind !== 'libvirt' || more.length > 0) {
      throw new UsageError('a libvirt backup is of one domain, with all its disks');
    }
    if (first.disk !== undefined) {
      throw new UsageError(`a domain's disks have names of their own, not ${JSON.stringify(first.disk)}`, {
        hint: 'choose some with --disk and --exclude',
      });
    }
    if (options.listen !== undefined && options.tlsCertificates === undefined) {
      throw new UsageError('--listen needs --tls-certificates: disks are not read over TCP in clear');
    }
    this.#source = first.source.text;
    this.#domain = first.source.domain;
    this.#options = options;
  }

  async inspect(selection: DiskSelection): Promise<Guest> {
    return (await describeGuest(await this.#open(), this.#domain, selection)).guest;
  }

  async begin(request: BeginRequest): Promise<SessionRecord> {
    const connection = await this.#open();
    const described = await describeGuest(connection, this.#domain, request.selection);
    const { state } = described.guest;
    if (state === 'off') return await beginOff(connection, described, this.#source, request);
    return await beginJob({ connection, described, source: this.#source, request });
  }

  async health(record: SessionRecord): Promise<void> {
    if (isOffRecord(record)) return await this.#ofImages(record, (images, inner) => images.health(inner));
    await confirmJob(await this.#open(), record);
  }

  watch(record: SessionRecord, onTrouble: (error: Error) => void): Disposable {
    if (isOffRecord(record)) {
      const { frontEnd, inner } = openOffRecord({ options: this.#options }, record);
      return frontEnd.watch(inner, onTrouble);
    }
    return watchJob(() => this.#open(), record, onTrouble);
  }

  async end(record: SessionRecord, outcome: 'commit' | 'abort'): Promise<readonly Action[]> {
    if (isOffRecord(record))
      return await this.#ofImages(record, (images, inner) => images.end(inner, outcome));
    return await endJob(await this.#open(), record, outcome);
  }

  async dropCheckpoints(names: readonly string[]): Promise<readonly Action[]> {
    const connection = await this.#open();
    const domain = await connection.domain(this.#domain);
    const known = await connection.checkpoints(domain.uuid);
    const actions: Action[] = [];
    for (const name of names.filter(isOurs)) {
      if (known.includes(name)) actions.push(...(await deleteCheckpoint(connection, domain, name)));
    }
    return actions;
  }

  async listCheckpoints(): Promise<readonly string[]> {
    const connection = await this.#open();
    const domain = await connection.domain(this.#domain);
    const names = (await connection.checkpoints(domain.uuid)).filter(isOurs);
    return names.toSorted((a, b) => beganAt(a) - beganAt(b));
  }

  async sweep(request: SweepRequest): Promise<readonly Action[]> {
    return await sweepDomain(await this.#open(), this.#domain, request);
  }

  async readFiles(record: SessionRecord): Promise<readonly GuestFile[]> {
    return await readGuestFiles(await this.#open(), record);
  }

  async *examine(selection: DiskSelection): AsyncGenerator<Finding> {
    yield* examineDomain(await this.#open(), this.#domain, selection);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const opened = await this.#connection?.catch(() => undefined);
    opened?.virsh[Symbol.dispose]();
    await opened?.host[Symbol.asyncDispose]();
  }

  async #ofImages<T>(
    record: SessionRecord,
    use: (images: FrontEnd, inner: SessionRecord) => Promise<T>,
  ): Promise<T> {
    const { frontEnd, inner } = openOffRecord({ options: this.#options }, record);
    await using images = frontEnd;
    return await use(images, inner);
  }

  /** Opened when first needed; after a failure again: libvirtd may have come back. */
  async #open(): Promise<LibvirtConnection> {
    this.#connection ??= LibvirtConnection.open(this.#options);
    try {
      return await this.#connection;
    } catch (error) {
      this.#connection = undefined;
      throw error;
    }
  }
}

function isOurs(name: string): boolean {
  return parseRunName(name) !== undefined;
}

function beganAt(name: string): number {
  return parseRunName(name)?.startedAt.getTime() ?? 0;
}
