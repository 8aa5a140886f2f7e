import { NbdeltaError, RepositoryError, UsageError } from '../errors.js';
import type { MachineLock } from './lock.js';
import {
  decodeManifest,
  encodeDigestFile,
  encodeManifest,
  MANIFEST_DIGEST_NAME,
  MANIFEST_NAME,
  type ManifestInput,
  manifestDigest,
  type Point,
} from './manifest.js';
import { removePointFolder } from './point-folder.js';
import type { StorageBackend, VolumeSink } from './storage-backend.js';
import { checkPointVolumes } from './volume-check.js';

type State = 'open' | 'committed' | 'lost' | 'aborted' | 'suspended';

/** A point being written. It exists when {@link commit} says so; until then nobody lists it. */
export class PointWriter implements AsyncDisposable {
  /** The new point's id. */
  readonly id: string;
  readonly #backend: StorageBackend;
  readonly #machine: string;
  readonly #lock: MachineLock;
  readonly #open = new Set<VolumeSink>();
  #state: State = 'open';

  /** The folder `<machine>/<id>` must exist, and be this writer's alone. */
  constructor(backend: StorageBackend, machine: string, id: string, lock: MachineLock) {
    this.#backend = backend;
    this.#machine = machine;
    this.id = id;
    this.#lock = lock;
  }

  get #folder(): string {
    return `${this.#machine}/${this.id}`;
  }

  /** Creates a file in the point's folder. It must be closed before {@link commit}. */
  async createVolume(fileName: string): Promise<VolumeSink> {
    this.#checkOpen(fileName);
    const sink = await this.#backend.createVolume(`${this.#folder}/${fileName}`);
    return this.#tracked(sink, () => sink.abort());
  }

  /**
   * The same for a point that may have been suspended: what is there already is kept as far as it is the same. With
   * `mayStay()` true an abort leaves the file, for the next one who resumes.
   */
  async resumeVolume(fileName: string, mayStay: () => boolean): Promise<VolumeSink> {
    this.#checkOpen(fileName);
    const sink = await this.#backend.resumeVolume(`${this.#folder}/${fileName}`);
    return this.#tracked(sink, () => (mayStay() ? sink.close() : sink.abort()));
  }

  #tracked(sink: VolumeSink, abort: () => Promise<void>): VolumeSink {
    this.#open.add(sink);
    return {
      append: chunks => sink.append(chunks),
      close: () => sink.close().then(() => void this.#open.delete(sink)),
      abort: () => abort().then(() => void this.#open.delete(sink)),
    };
  }

  /** Leaves what was written, for somebody who resumes: see `MachineStore.resumePoint`. */
  suspend(): void {
    if (this.#state === 'open') this.#state = 'suspended';
  }

  /** Removes a small file that was put here. */
  async dropFile(fileName: string): Promise<void> {
    this.#checkOpen(fileName);
    await this.#backend.remove(`${this.#folder}/${fileName}`);
  }

  /** Puts a small file beside the volumes, e.g. `domain.xml`. */
  async putFile(fileName: string, bytes: Uint8Array): Promise<void> {
    this.#checkOpen(fileName);
    await this.#backend.replace(`${this.#folder}/${fileName}`, bytes);
  }

  /**
   * Makes the point exist. When this fails, call {@link abort}: then there is no such point.
   * @throws RepositoryError LOCK_LOST, POINT_EXISTS; ChainError CHAIN_TORN when a volume is not as the
   *   manifest says; NbdeltaError INTERNAL for a manifest that breaks its own rules.
   */
  async commit(manifest: ManifestInput): Promise<Point> {
    return await this.commitBytes(encodeManifest(manifest));
  }

  /** The same with the bytes of a manifest as they are, for a point that was taken elsewhere. */
  async commitBytes(bytes: Uint8Array): Promise<Point> {
    const point = await this.#prepare(bytes);
    const path = `${this.#folder}/${MANIFEST_NAME}`;
    await this.#backend.replace(`${this.#folder}/${MANIFEST_DIGEST_NAME}`, encodeDigestFile(point.sha256));
    // Last, so that as little time as possible is left in which somebody can take the lock over.
    await this.#lock.checkStillHeld();
    if (!(await this.#backend.putExclusive(path, point.bytes))) {
      this.#state = 'lost';
      throw new RepositoryError('POINT_EXISTS', `point ${this.id} was committed by somebody else`, {
        hint: 'Look at what else works on this repository.',
      });
    }
    this.#state = 'committed';
    return { manifest: point.manifest, sha256: point.sha256 };
  }

  async #prepare(bytes: Uint8Array): Promise<Point & { readonly bytes: Uint8Array }> {
    this.#checkOpen(MANIFEST_NAME, true);
    if (this.#open.size > 0) throw this.#defect(`${this.#open.size} volumes are not closed`);
    const manifest = decodeManifest(bytes, this.id);
    if (manifest.id !== this.id) throw this.#defect(`the manifest is of point ${manifest.id}`);
    if (manifest.machine.name !== this.#machine) throw this.#defect(`it is of ${manifest.machine.name}`);
    await checkPointVolumes(this.#backend, this.#folder, manifest);
    return { bytes, manifest, sha256: manifestDigest(bytes) };
  }

  /** Removes everything of this point. Safe twice; does nothing after a commit. */
  async abort(): Promise<void> {
    if (this.#state !== 'open') return;
    for (const sink of this.#open) await sink.abort();
    this.#open.clear();
    // A commit that failed may have made the manifest before it failed: removing it first is part of this.
    await removePointFolder(this.#backend, this.#folder);
    this.#state = 'aborted';
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.abort();
  }

  #checkOpen(fileName: string, isCommit = false): void {
    if (this.#state !== 'open') throw new UsageError(`point ${this.id} is ${this.#state} already`);
    const isOurs = fileName === MANIFEST_NAME || fileName === MANIFEST_DIGEST_NAME;
    if (isOurs && !isCommit) throw this.#defect(`${fileName} is written by the commit only`);
  }

  #defect(what: string): NbdeltaError {
    return new NbdeltaError('INTERNAL', `point ${this.id} cannot be written: ${what}`);
  }
}
