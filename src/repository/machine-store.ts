import { ChainError, errorLine, NbdeltaError, RepositoryError, StorageError } from '../errors.js';
import { type ChainLink, openChain, readableAncestry } from './chain.js';
import { encodeDocument } from './json-document.js';
import { acquireLock, type LockOptions, type MachineLock } from './lock.js';
import { checkMachineName } from './machine-name.js';
import {
  adoptIdentity,
  checkParentGuest,
  decodeMachineRecord,
  MACHINE_RECORD_MAX_BYTES,
  MACHINE_RECORD_NAME,
  type MachineIdentity,
  type MachineRecord,
  newMachineRecord,
  withCommitted,
} from './machine-record.js';
import { MANIFEST_MAX_BYTES, MANIFEST_NAME, type Manifest, type Point } from './manifest.js';
import { clearPending, putPending, readPending } from './pending.js';
import { type Pin, type PinList, putPin, readPin, readPins, removePin } from './pin.js';
import { readPointFile } from './point-file.js';
import { readPoint, removePointFolder } from './point-folder.js';
import { isPointId, newPointId } from './point-id.js';
import { listPointFolders, type PointList, readPointList } from './point-list.js';
import type { UnreadablePoint } from './point-order.js';
import { PointWriter } from './point-writer.js';
import { type ReaderLease, takeReaderLease } from './reader-lease.js';
import { type RemovedPoints, removePoints } from './remove-points.js';
import type { StorageBackend, VolumeReader } from './storage-backend.js';
import { supersededIds } from './superseded.js';
import { decodeVerdict, VERDICT_MAX_BYTES, VERDICT_NAME, type Verdict } from './verdict.js';
import { checkPointVolumes, checkVolumes } from './volume-check.js';

const ID_ATTEMPTS = 5;
/** In the folder of a point that is not committed: whoever began it can go on with it. */
export const RESUME_NAME = 'resume.json';
const RESUME_MAX_BYTES = 1 << 20;

export interface BeginOptions {
  readonly now?: Date;
  readonly random?: (size: number) => Uint8Array;
}

export interface IdentityOptions {
  /** The new point is a full that was asked for: see {@link adoptIdentity}. */
  readonly startsChain?: boolean;
  /** What the new point builds on: that must be of the same guest, too. */
  readonly parent?: Manifest;
}

export interface RemovedLeftovers {
  /** Ids. */
  readonly removed: readonly string[];
  readonly kept: readonly KeptLeftover[];
}

export interface KeptLeftover {
  readonly id: string;
  readonly why: string;
}

/** The folder of one machine in a repository. */
export class MachineStore {
  readonly name: string;
  readonly #backend: StorageBackend;

  /** @throws UsageError when `name` cannot be a machine's name. */
  constructor(backend: StorageBackend, name: string) {
    checkMachineName(name);
    this.#backend = backend;
    this.name = name;
  }

  /** `machine.json`, or `null` when nothing was ever backed up under this name. */
  async readRecord(): Promise<MachineRecord | null> {
    const bytes = await this.#backend.read(this.#recordPath, { maxBytes: MACHINE_RECORD_MAX_BYTES });
    return bytes === null ? null : decodeMachineRecord(bytes, this.name);
  }

  /**
   * Checks that the guest about to be backed up is the one of this machine; writes nothing.
   * @throws RepositoryError MACHINE_MISMATCH; REPOSITORY_INVALID when there are points, but no record.
   */
  async checkIdentity(identity: MachineIdentity, options: IdentityOptions = {}): Promise<void> {
    await this.#adopt(identity, options, new Date());
    if (options.parent !== undefined) checkParentGuest(options.parent, identity);
  }

  /** Removes the machine's folder when nothing is in it: what a first backup that failed leaves behind. */
  async removeIfEmpty(): Promise<void> {
    const entries = await this.#backend.list(this.name);
    if (entries.length > 0) return;
    try {
      await this.#backend.removeFolder(this.name);
    } catch (error) {
      // Somebody else's backup began in it between the two calls.
      if (!(error instanceof StorageError && error.fields['errno'] === 'ENOTEMPTY')) throw error;
    }
  }

  /**
   * Checks that the guest about to be backed up is the one of this machine, and writes down what is new of it.
   * @throws RepositoryError MACHINE_MISMATCH, REPOSITORY_INVALID as {@link checkIdentity}: nothing is written then.
   */
  async identify(
    lock: MachineLock,
    identity: MachineIdentity,
    options: IdentityOptions & { readonly now?: Date } = {},
  ): Promise<MachineRecord> {
    await lock.checkStillHeld();
    await this.checkIdentity(identity, options);
    const { before, after } = await this.#adopt(identity, options, options.now ?? new Date());
    if (JSON.stringify(after) !== JSON.stringify(before)) await this.#writeRecord(after);
    return after;
  }

  async #adopt(identity: MachineIdentity, { startsChain }: IdentityOptions, now: Date) {
    const before = await this.readRecord();
    if (before !== null) return { before, after: adoptIdentity(before, identity, startsChain) };
    // Whose points these are, nobody could say afterwards.
    if (await this.hasPoints()) throw missingRecord(this.name);
    return { before, after: newMachineRecord(this.name, identity, now) };
  }

  /**
   * Writes down that `point` was committed, right after the commit. Without this nobody would notice the loss
   * of the newest point. The point exists whether this fails or not.
   * @throws RepositoryError LOCK_LOST, REPOSITORY_INVALID.
   */
  async recordCommitted(lock: MachineLock, point: Point): Promise<void> {
    await lock.checkStillHeld();
    const record = await this.readRecord();
    if (record === null) throw missingRecord(this.name);
    await this.#writeRecord(withCommitted(record, point));
  }

  async #writeRecord(record: MachineRecord): Promise<void> {
    await this.#backend.replace(this.#recordPath, encodeDocument(record));
  }

  /** Whether there are points, or what is left of some, with or without `machine.json`. */
  async hasPoints(): Promise<boolean> {
    const { committed, perhapsLost, strange } = await listPointFolders(this.#backend, this.name);
    return committed.length + perhapsLost.length + strange.length > 0;
  }

  /**
   * Takes the machine's lock; whoever changes its points needs it.
   * @param options `create`: makes the machine's folder, for a first backup.
   * @throws RepositoryError LOCKED; MACHINE_UNKNOWN without `create`.
   */
  async lock(
    operation: string,
    options: LockOptions & { readonly create?: boolean } = {},
  ): Promise<MachineLock> {
    if (options.create === true) await this.#backend.makeFolder(this.name);
    else if ((await this.readRecord()) === null) {
      throw (await this.hasPoints()) ? missingRecord(this.name) : unknownMachine(this.name, []);
    }
    return await acquireLock(this.#backend, this.name, operation, options);
  }

  /** All committed points, and those that should be there. Reads every manifest. */
  async listPoints(): Promise<PointList> {
    return await readPointList(this.#backend, this.name, () => this.readRecord());
  }

  /**
   * One committed point.
   * @throws RepositoryError POINT_UNKNOWN; DamagedError; ChainError CHAIN_TORN, CHAIN_FOREIGN.
   */
  async loadManifest(id: string): Promise<Point> {
    return await readPoint(this.#backend, this.name, id);
  }

  /** Folders of points that were never committed, or whose removal was interrupted. */
  async listIncomplete(): Promise<string[]> {
    return [...(await listPointFolders(this.#backend, this.name)).incomplete];
  }

  /**
   * Removes what killed operations left behind. Call it before {@link beginPoint}: the folder of a point that
   * is being written is incomplete too. A folder that was perhaps a point once is kept: its volumes may be all
   * that is left to repair it with. What cannot be removed is in nobody's way, and kept too. So is, unless `resumable`
   * says otherwise, what somebody can go on with.
   * @throws RepositoryError LOCK_LOST.
   */
  async removeIncomplete(
    lock: MachineLock,
    options: { readonly resumable?: boolean } = {},
  ): Promise<RemovedLeftovers> {
    await lock.checkStillHeld();
    const { incomplete, perhapsLost } = await listPointFolders(this.#backend, this.name);
    if (incomplete.length === 0) return { removed: [], kept: [] };
    const { points, unreadable } = await this.listPoints();
    // An unreadable manifest may name any of them as its parent.
    const parents = new Set(points.map(point => point.manifest.parent?.id));
    const gone = supersededIds(points, await this.readRecord());
    const removed: string[] = [];
    const kept: KeptLeftover[] = [];
    const resumable = options.resumable ? new Set<string>() : await this.#resumableIds();
    for (const id of incomplete.filter(each => !gone.has(each) && !resumable.has(each))) {
      const wasPoint = perhapsLost.includes(id) || unreadable.length > 0 || parents.has(id);
      const why = wasPoint ? 'it may be a point that lost its manifest' : await this.#tryRemove(id);
      if (why === null) removed.push(id);
      else kept.push({ id, why });
    }
    return { removed, kept };
  }

  async #resumableIds(): Promise<ReadonlySet<string>> {
    return new Set((await this.listResumable()).map(({ id }) => id));
  }

  /** `null`, or why the leftover cannot be removed. */
  async #tryRemove(id: string): Promise<string | null> {
    try {
      await removePointFolder(this.#backend, `${this.name}/${id}`);
      return null;
    } catch (error) {
      if (error instanceof StorageError || error instanceof RepositoryError) return errorLine(error);
      throw error;
    }
  }

  /**
   * Removes points, as soon as nobody reads them: see {@link removePoints}. That nothing builds on them is for the caller
   * to know. Without `ids`, what an earlier removal or merge left.
   * @throws RepositoryError LOCK_LOST, REPOSITORY_INVALID.
   */
  async removePoints(lock: MachineLock, ids: readonly string[] = []): Promise<RemovedPoints> {
    await lock.checkStillHeld();
    const strange = ids.find(id => !isPointId(id));
    if (strange !== undefined)
      throw new NbdeltaError('INTERNAL', `not a point id: ${JSON.stringify(strange)}`);
    const record = await this.readRecord();
    if (record === null) throw missingRecord(this.name);
    const { points } = await this.listPoints();
    const all = [...ids, ...(await this.#supersededFolders(points, record))];
    if (all.length === 0) return { removed: [], held: [] };
    const writeRecord = (next: MachineRecord) => this.#writeRecord(next);
    return await removePoints(lock, all, {
      ...{ backend: this.#backend, machine: this.name, record, points, writeRecord },
    });
  }

  /** Removes a committed point. */
  async removePoint(lock: MachineLock, id: string): Promise<void> {
    await this.removePoints(lock, [id]);
  }

  /** Folders of points that are none any more. */
  async #supersededFolders(points: readonly Point[], record: MachineRecord): Promise<string[]> {
    const { committed, incomplete } = await listPointFolders(this.#backend, this.name);
    const gone = supersededIds(points, record);
    return [...committed, ...incomplete].filter(id => gone.has(id));
  }

  /** Says that points are about to be read; see {@link takeReaderLease}. */
  async takeReaderLease(operation: string): Promise<ReaderLease> {
    return await takeReaderLease(this.#backend, this.name, operation);
  }

  /** Makes the folder of a new point. @throws RepositoryError LOCK_LOST. */
  async beginPoint(lock: MachineLock, options: BeginOptions = {}): Promise<PointWriter> {
    await lock.checkStillHeld();
    for (let attempt = 0; attempt < ID_ATTEMPTS; attempt++) {
      const id = newPointId(options.now, options.random);
      if (await this.#backend.makeFolder(`${this.name}/${id}`)) {
        return new PointWriter(this.#backend, this.name, id, lock);
      }
    }
    throw new NbdeltaError(
      'INTERNAL',
      `no unused point id for machine ${this.name} in ${ID_ATTEMPTS} attempts`,
    );
  }

  /** Goes on with the folder of a point that was suspended; see {@link listResumable}. @throws RepositoryError LOCK_LOST. */
  async resumePoint(lock: MachineLock, id: string): Promise<PointWriter> {
    await lock.checkStillHeld();
    return new PointWriter(this.#backend, this.name, id, lock);
  }

  /** Makes the folder of a point that was taken elsewhere, or goes on with it. @throws RepositoryError LOCK_LOST, POINT_EXISTS. */
  async adoptPoint(lock: MachineLock, id: string): Promise<PointWriter> {
    await lock.checkStillHeld();
    if (!isPointId(id)) throw new NbdeltaError('INTERNAL', `not a point id: ${JSON.stringify(id)}`);
    const isNew = await this.#backend.makeFolder(`${this.name}/${id}`);
    if (isNew || (await this.listIncomplete()).includes(id)) return await this.resumePoint(lock, id);
    throw new RepositoryError('POINT_EXISTS', `machine ${this.name} has a point ${id} already`);
  }

  /** The bytes of a committed point's manifest. @throws RepositoryError POINT_UNKNOWN. */
  async readManifestBytes(id: string): Promise<Uint8Array> {
    const bytes = await this.readFile(id, MANIFEST_NAME, MANIFEST_MAX_BYTES);
    if (bytes !== null) return bytes;
    throw new RepositoryError('POINT_UNKNOWN', `machine ${this.name} has no point ${id}`);
  }

  /** Folders of points that were suspended, with the journal that says what they were going to be. */
  async listResumable(): Promise<readonly { readonly id: string; readonly journal: Uint8Array }[]> {
    const found: { id: string; journal: Uint8Array }[] = [];
    for (const id of await this.listIncomplete()) {
      const journal = await this.readFile(id, RESUME_NAME, RESUME_MAX_BYTES);
      if (journal !== null) found.push({ id, journal });
    }
    return found;
  }

  /** Opens a file of a point, usually a volume. */
  async openVolume(pointId: string, fileName: string): Promise<VolumeReader> {
    return await this.#backend.openVolume(`${this.name}/${pointId}/${fileName}`);
  }

  /** A small file of a point, such as `domain.xml`, or `null` when the point has none. */
  async readFile(pointId: string, fileName: string, maxBytes: number): Promise<Uint8Array | null> {
    return await this.#backend.read(`${this.name}/${pointId}/${fileName}`, { maxBytes });
  }

  /** A small file of a point, checked against its manifest. @throws as `readPointFile` does. */
  async readPointFile(point: Point, name: string): Promise<Uint8Array | undefined> {
    return await readPointFile(this.#backend, this.name, point, name);
  }

  /** What the last verification of a point found; `null`: nobody knows. */
  async readVerdict(pointId: string): Promise<Verdict | null> {
    const bytes = await this.readFile(pointId, VERDICT_NAME, VERDICT_MAX_BYTES);
    return bytes === null ? null : decodeVerdict(bytes);
  }

  /** Needs no lock: the last one who writes is the last one who verified. */
  async putVerdict(pointId: string, verdict: Verdict): Promise<void> {
    await this.#backend.replace(`${this.name}/${pointId}/${VERDICT_NAME}`, encodeDocument(verdict));
  }

  /** The pins of the points `ids`. */
  async readPins(ids: readonly string[]): Promise<PinList> {
    return await readPins(this.#backend, this.name, ids);
  }

  /** Pins a point, or replaces its pin. @throws RepositoryError LOCK_LOST. */
  async putPin(lock: MachineLock, id: string, pin: Pin): Promise<void> {
    await lock.checkStillHeld();
    await putPin(this.#backend, `${this.name}/${id}`, pin);
  }

  /** Takes a point's pin away, also one that cannot be read. Safe twice. @throws RepositoryError LOCK_LOST. */
  async removePin(lock: MachineLock, id: string): Promise<void> {
    await lock.checkStillHeld();
    await removePin(this.#backend, `${this.name}/${id}`);
  }

  /**
   * Gives the point `toId` the pin of `fromId`, or none when that has none. For a point that takes the place of another: call it
   * between {@link beginPoint} and the commit, so that there is no instant in which the pin is lost; that of `fromId`
   * goes with its folder.
   * @throws RepositoryError LOCK_LOST, or what makes the pin unreadable: then the other point must stay.
   */
  async copyPin(lock: MachineLock, fromId: string, toId: string): Promise<void> {
    const pin = await readPin(this.#backend, `${this.name}/${fromId}`);
    if (pin !== null) await this.putPin(lock, toId, pin);
    else await this.removePin(lock, toId);
  }

  /** What a run that is alive, or that died, has written down; see `pending.ts`. */
  async readPending(): Promise<unknown> {
    return await readPending(this.#backend, this.name);
  }

  /** @throws RepositoryError LOCK_LOST. */
  async putPending(lock: MachineLock, document: object): Promise<void> {
    await lock.checkStillHeld();
    await putPending(this.#backend, this.name, document);
  }

  /** @throws RepositoryError LOCK_LOST. */
  async clearPending(lock: MachineLock): Promise<void> {
    await lock.checkStillHeld();
    await clearPending(this.#backend, this.name);
  }

  /** Names and sizes of the files of a point. */
  async listFiles(pointId: string): Promise<{ readonly name: string; readonly bytes: number }[]> {
    const entries = await this.#backend.list(`${this.name}/${pointId}`, { sizes: true });
    return entries.flatMap(({ kind, name, bytes }) => (kind === 'file' ? [{ name, bytes: bytes ?? 0 }] : []));
  }

  /**
   * The chain of a disk with all its volumes checked for presence and size.
   * @throws as {@link openChain} and {@link checkVolumes} do.
   */
  async openChain(points: readonly Point[], pointId: string, disk: string): Promise<ChainLink[]> {
    const chain = openChain(points, pointId, disk);
    await checkVolumes(this.#backend, this.name, chain);
    return chain;
  }

  /**
   * The points of the chain that ends in `point` whose volumes are not all there, with what is wrong. Links
   * that are missing altogether are not among them. Reads folders only.
   */
  async findTorn(points: readonly Point[], point: Point): Promise<UnreadablePoint[]> {
    const torn: UnreadablePoint[] = [];
    for (const { manifest } of readableAncestry(points, point)) {
      try {
        await checkPointVolumes(this.#backend, `${this.name}/${manifest.id}`, manifest);
      } catch (error) {
        if (!(error instanceof ChainError)) throw error;
        torn.push({ id: manifest.id, error, sequence: manifest.sequence });
      }
    }
    return torn;
  }

  get #recordPath(): string {
    return `${this.name}/${MACHINE_RECORD_NAME}`;
  }
}

/** The error for a machine that the repository does not have; `names`: those it has. */
export function unknownMachine(name: string, names: readonly string[]): RepositoryError {
  return new RepositoryError('MACHINE_UNKNOWN', `the repository has no machine ${name}`, {
    hint: names.length === 0 ? 'Nothing was backed up under this name.' : `It has: ${names.join(', ')}.`,
    fields: { machine: name, machines: names },
  });
}

/** The error for a folder with points, but without `machine.json`. */
export function missingRecord(name: string): RepositoryError {
  const message = `${name}: there are points, but no ${MACHINE_RECORD_NAME}: which guest they are of is unknown`;
  return new RepositoryError('REPOSITORY_INVALID', message, {
    hint: 'Restore the file from a copy of the repository; for a new start use another --name.',
    fields: { machine: name },
  });
}
