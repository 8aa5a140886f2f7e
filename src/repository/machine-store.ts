import { ChainError, DamagedError, NbdeltaError, RepositoryError, StorageError } from '../errors.js';
import { type ChainLink, openChain } from './chain.js';
import { encodeDocument } from './json-document.js';
import { acquireLock, type LockOptions, type MachineLock } from './lock.js';
import { checkMachineName } from './machine-name.js';
import {
  adoptIdentity,
  decodeMachineRecord,
  MACHINE_RECORD_MAX_BYTES,
  MACHINE_RECORD_NAME,
  type MachineIdentity,
  type MachineRecord,
  newMachineRecord,
} from './machine-record.js';
import { MANIFEST_NAME, type Point } from './manifest.js';
import { readPoint, removePointFolder } from './point-folder.js';
import { isPointId, newPointId } from './point-id.js';
import { sortPoints } from './point-order.js';
import { PointWriter } from './point-writer.js';
import type { StorageBackend, VolumeReader } from './storage-backend.js';
import { checkVolumes } from './volume-check.js';

const MANIFESTS_AT_ONCE = 8;
const ID_ATTEMPTS = 5;

/** A machine's committed points. What cannot be read is not hidden: it is listed apart, with its error. */
export interface PointList {
  /** By sequence, oldest first. */
  readonly points: readonly Point[];
  readonly unreadable: readonly UnreadablePoint[];
}

export interface UnreadablePoint {
  readonly id: string;
  readonly error: NbdeltaError;
}

export interface BeginOptions {
  readonly now?: Date;
  readonly random?: (size: number) => Uint8Array;
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
   * @throws RepositoryError MACHINE_MISMATCH.
   */
  async checkIdentity(identity: MachineIdentity): Promise<void> {
    const before = await this.readRecord();
    if (before !== null) adoptIdentity(before, identity);
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
   * @throws RepositoryError MACHINE_MISMATCH: nothing is written then.
   */
  async identify(lock: MachineLock, identity: MachineIdentity, now = new Date()): Promise<MachineRecord> {
    await lock.checkStillHeld();
    const before = await this.readRecord();
    const record =
      before === null ? newMachineRecord(this.name, identity, now) : adoptIdentity(before, identity);
    if (JSON.stringify(record) !== JSON.stringify(before)) {
      await this.#backend.replace(this.#recordPath, encodeDocument(record));
    }
    return record;
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
    else if ((await this.readRecord()) === null) throw unknownMachine(this.name, []);
    return await acquireLock(this.#backend, this.name, operation, options);
  }

  /** All committed points. Reads every manifest. */
  async listPoints(): Promise<PointList> {
    const { committed } = await this.#listFolders();
    const points: Point[] = [];
    const unreadable: UnreadablePoint[] = [];
    for (let start = 0; start < committed.length; start += MANIFESTS_AT_ONCE) {
      const ids = committed.slice(start, start + MANIFESTS_AT_ONCE);
      for (const result of await Promise.all(ids.map(id => this.#tryLoad(id)))) {
        if (result === null) continue;
        if ('error' in result) unreadable.push(result);
        else points.push(result);
      }
    }
    return { points: sortPoints(points), unreadable };
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
    return (await this.#listFolders()).incomplete;
  }

  /**
   * Removes what killed operations left behind. Call it before {@link beginPoint}: the folder of a point that
   * is being written is incomplete too. A folder that a committed point builds on is kept: it was a point
   * once, and its volumes may be all that is left to repair it with.
   * @throws RepositoryError LOCK_LOST.
   */
  async removeIncomplete(lock: MachineLock): Promise<{ removed: string[]; kept: string[] }> {
    await lock.checkStillHeld();
    const incomplete = await this.listIncomplete();
    if (incomplete.length === 0) return { removed: [], kept: [] };
    const { points, unreadable } = await this.listPoints();
    // An unreadable manifest may name any of them as its parent.
    const parents = new Set(points.map(point => point.manifest.parent?.id));
    const isNeeded = (id: string): boolean => unreadable.length > 0 || parents.has(id);
    const removed = incomplete.filter(id => !isNeeded(id));
    for (const id of removed) await removePointFolder(this.#backend, `${this.name}/${id}`);
    return { removed, kept: incomplete.filter(isNeeded) };
  }

  /**
   * Removes a committed point. That nothing builds on it, and nobody reads it, is for the caller to know.
   * @throws RepositoryError LOCK_LOST.
   */
  async removePoint(lock: MachineLock, id: string): Promise<void> {
    await lock.checkStillHeld();
    if (!isPointId(id)) throw new NbdeltaError('INTERNAL', `not a point id: ${JSON.stringify(id)}`);
    await removePointFolder(this.#backend, `${this.name}/${id}`);
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

  /** Opens a file of a point, usually a volume. */
  async openVolume(pointId: string, fileName: string): Promise<VolumeReader> {
    return await this.#backend.openVolume(`${this.name}/${pointId}/${fileName}`);
  }

  /** A small file of a point, such as `domain.xml`, or `null` when the point has none. */
  async readFile(pointId: string, fileName: string, maxBytes: number): Promise<Uint8Array | null> {
    return await this.#backend.read(`${this.name}/${pointId}/${fileName}`, { maxBytes });
  }

  /** Names and sizes of the files of a point. */
  async listFiles(pointId: string): Promise<{ readonly name: string; readonly bytes: number }[]> {
    const entries = await this.#backend.list(`${this.name}/${pointId}`);
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

  get #recordPath(): string {
    return `${this.name}/${MACHINE_RECORD_NAME}`;
  }

  /** `null`: the point was removed since the folder was listed. */
  async #tryLoad(id: string): Promise<Point | UnreadablePoint | null> {
    try {
      return await this.loadManifest(id);
    } catch (error) {
      if (isPointDefect(error)) return { id, error };
      if (error instanceof RepositoryError && error.code === 'POINT_UNKNOWN') return null;
      throw error;
    }
  }

  async #listFolders(): Promise<{ committed: string[]; incomplete: string[] }> {
    const entries = await this.#backend.list(this.name);
    const ids = entries.flatMap(({ kind, name }) => (kind === 'folder' && isPointId(name) ? [name] : []));
    const committed: string[] = [];
    const incomplete: string[] = [];
    for (const id of ids) {
      const files = await this.#backend.list(`${this.name}/${id}`);
      (files.some(file => file.name === MANIFEST_NAME) ? committed : incomplete).push(id);
    }
    return { committed, incomplete };
  }
}

/** Wrong with this point, as opposed to the storage as a whole. */
function isPointDefect(error: unknown): error is NbdeltaError {
  if (error instanceof DamagedError || error instanceof ChainError) return true;
  return error instanceof NbdeltaError && error.code === 'FORMAT_UNSUPPORTED';
}

/** The error for a machine that the repository does not have; `names`: those it has. */
export function unknownMachine(name: string, names: readonly string[]): RepositoryError {
  return new RepositoryError('MACHINE_UNKNOWN', `the repository has no machine ${name}`, {
    hint: names.length === 0 ? 'Nothing was backed up under this name.' : `It has: ${names.join(', ')}.`,
    fields: { machine: name, machines: names },
  });
}
