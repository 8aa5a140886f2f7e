import { randomUUID } from 'node:crypto';
import * as z from 'zod';
import { type NbdeltaError, RepositoryError, StorageError } from '../errors.js';
import { readableAncestry } from './chain.js';
import { type DocumentKind, decodeDocument, encodeDocument } from './json-document.js';
import { LocalBackend } from './local-backend.js';
import { isMachineName } from './machine-name.js';
import { MACHINE_RECORD_NAME } from './machine-record.js';
import { MachineStore, missingRecord, unknownMachine } from './machine-store.js';
import type { Point } from './manifest.js';
import type { PointList } from './point-list.js';
import { parsePointSpec, resolvePoint } from './point-spec.js';
import type { StorageBackend } from './storage-backend.js';

const DESCRIPTION_NAME = 'nbdelta-repository.json';
const DESCRIPTION_MAX_BYTES = 1024 * 1024;

const descriptionSchema = z.object({
  format: z.literal('nbdelta-repository'),
  version: z.literal(1),
  id: z.string().min(1).max(128),
  created: z.iso.datetime(),
  features: z.array(z.string()),
});

/** `nbdelta-repository.json`. */
export type RepositoryDescription = Readonly<z.output<typeof descriptionSchema>>;

const DESCRIPTION: DocumentKind<typeof descriptionSchema> = {
  format: 'nbdelta-repository',
  version: 1,
  knownFeatures: [],
  schema: descriptionSchema,
  invalid: (message, cause) =>
    new RepositoryError('REPOSITORY_INVALID', message, {
      cause,
      hint: 'Restore the file from a copy of the repository, or check the path.',
    }),
};

/** A place with recovery points of machines. */
export class Repository {
  readonly backend: StorageBackend;
  readonly description: RepositoryDescription;

  constructor(backend: StorageBackend, description: RepositoryDescription) {
    this.backend = backend;
    this.description = description;
  }

  /** A machine's folder, whether it exists or not. @throws UsageError for what cannot be a name. */
  machine(name: string): MachineStore {
    return new MachineStore(this.backend, name);
  }

  /** A machine that was backed up before. @throws RepositoryError MACHINE_UNKNOWN, listing those there are. */
  async openMachine(name: string): Promise<MachineStore> {
    const machine = this.machine(name);
    if ((await machine.readRecord()) !== null) return machine;
    if (await machine.hasPoints()) throw missingRecord(name);
    throw unknownMachine(name, await this.listMachines());
  }

  /** Names of all machines, sorted. */
  async listMachines(): Promise<string[]> {
    const entries = await this.backend.list('');
    const names: string[] = [];
    for (const { kind, name } of entries) {
      if (kind !== 'folder' || !isMachineName(name)) continue;
      const files = await this.backend.list(name);
      if (files.some(file => file.name === MACHINE_RECORD_NAME)) names.push(name);
    }
    return names;
  }

  /**
   * What looks like a machine and is none: links, and folders with points but without `machine.json`, each with
   * what is wrong. Folders of others are not meant.
   */
  async listStrayMachines(): Promise<{ readonly name: string; readonly error: NbdeltaError }[]> {
    const strays: { name: string; error: NbdeltaError }[] = [];
    for (const { kind, name } of await this.backend.list('')) {
      if (kind === 'file' || !isMachineName(name)) continue;
      if (kind === 'link') strays.push({ name, error: linkedMachine(name) });
      else if ((await this.#hasNoRecord(name)) && (await this.machine(name).hasPoints())) {
        strays.push({ name, error: missingRecord(name) });
      }
    }
    return strays;
  }

  async #hasNoRecord(name: string): Promise<boolean> {
    return (await this.backend.list(name)).every(file => file.name !== MACHINE_RECORD_NAME);
  }

  /**
   * The point that `MACHINE[@POINT]` names, with all points of its machine.
   * @throws UsageError; RepositoryError MACHINE_UNKNOWN, POINT_UNKNOWN, POINT_AMBIGUOUS; the point's own error
   *   when it cannot be read.
   */
  async resolve(spec: string): Promise<ResolvedPoint> {
    const parsed = parsePointSpec(spec);
    const machine = await this.openMachine(parsed.machine);
    const list = await machine.listPoints();
    const point = resolvePoint(list, parsed.machine, parsed.point);
    return { machine, point, ...list };
  }

  /**
   * The same, for whoever is going to read the point's data: a merge or a prune at the same time leaves its files
   * until it is let go of. See `reader-lease.ts`.
   */
  async hold(spec: string, operation: string): Promise<HeldForReading> {
    const machine = await this.openMachine(parsePointSpec(spec).machine);
    const lease = await machine.takeReaderLease(operation);
    try {
      const resolved = await this.resolve(spec);
      const needed = readableAncestry(resolved.points, resolved.point);
      await lease.narrow(needed.map(point => point.manifest.id));
      return { ...resolved, [Symbol.asyncDispose]: () => lease.release() };
    } catch (error) {
      await lease.release();
      throw error;
    }
  }
}

/** A point whose files, and those of all that it builds on, stay until it is let go of. */
export type HeldForReading = ResolvedPoint & AsyncDisposable;

export interface ResolvedPoint extends PointList {
  readonly machine: MachineStore;
  readonly point: Point;
}

function linkedMachine(name: string): RepositoryError {
  return new RepositoryError('REPOSITORY_INVALID', `${name} is a symbolic link, expected a folder`, {
    hint: 'Links are not followed inside a repository: put the folder itself in its place, or mount it there.',
    fields: { machine: name },
  });
}

/**
 * Makes a repository in an empty or missing folder.
 * @throws RepositoryError REPOSITORY_INVALID when something else is there, or a repository already.
 */
export async function initRepository(location: string | StorageBackend): Promise<Repository> {
  const backend = toBackend(location);
  await backend.makeFolder('');
  if (!(await isEmpty(backend))) throw strangeFolder(backend);
  const description = newDescription();
  if (await backend.putExclusive(DESCRIPTION_NAME, encodeDocument(description))) {
    return new Repository(backend, description);
  }
  throw new RepositoryError('REPOSITORY_INVALID', `there is a repository in ${backend.describe()} already`, {
    hint: 'Use it as it is: nothing has to be done.',
  });
}

/**
 * Opens a repository.
 * @param options `create`: makes one in an empty or missing folder, as a first backup does.
 * @throws RepositoryError REPOSITORY_MISSING, REPOSITORY_INVALID; NbdeltaError FORMAT_UNSUPPORTED.
 */
export async function openRepository(
  location: string | StorageBackend,
  options: { readonly create?: boolean } = {},
): Promise<Repository> {
  const backend = toBackend(location);
  const opened = await readRepository(backend);
  if (opened !== null) return opened;
  if (!(await isEmpty(backend))) throw strangeFolder(backend);
  if (options.create === true) return await createOrJoin(backend);
  throw new RepositoryError('REPOSITORY_MISSING', `there is no repository in ${backend.describe()}`, {
    hint: `Run \`nbdelta init --repo ${backend.describe()}\`, or check that its file system is mounted.`,
  });
}

/** Of two first backups at the same time, both go on in the repository that one of them made. */
async function createOrJoin(backend: StorageBackend): Promise<Repository> {
  await backend.makeFolder('');
  const description = newDescription();
  if (await backend.putExclusive(DESCRIPTION_NAME, encodeDocument(description))) {
    return new Repository(backend, description);
  }
  return await openRepository(backend);
}

async function readRepository(backend: StorageBackend): Promise<Repository | null> {
  const bytes = await withStrangeFolder(backend, () =>
    backend.read(DESCRIPTION_NAME, { maxBytes: DESCRIPTION_MAX_BYTES }),
  );
  if (bytes === null) return null;
  const name = `${backend.describe()}/${DESCRIPTION_NAME}`;
  return new Repository(backend, decodeDocument(bytes, name, DESCRIPTION));
}

/** Whether nothing is there; leftovers of an `init` that was killed do not count. */
async function isEmpty(backend: StorageBackend): Promise<boolean> {
  const entries = await withStrangeFolder(backend, () => backend.list(''));
  return entries.every(({ name }) => name.startsWith('.nbdelta-tmp-') || name === 'lost+found');
}

async function withStrangeFolder<T>(backend: StorageBackend, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof StorageError && error.fields['errno'] === 'ENOTDIR') {
      throw strangeFolder(backend, error);
    }
    throw error;
  }
}

function strangeFolder(backend: StorageBackend, cause?: unknown): RepositoryError {
  const message = `${backend.describe()} is not empty and not a repository (no ${DESCRIPTION_NAME})`;
  const hint = 'Check the path; a new repository needs an empty or missing folder.';
  return new RepositoryError('REPOSITORY_INVALID', message, { cause, hint });
}

function newDescription(): RepositoryDescription {
  const created = new Date().toISOString();
  return { format: 'nbdelta-repository', version: 1, id: randomUUID(), created, features: [] };
}

function toBackend(location: string | StorageBackend): StorageBackend {
  return typeof location === 'string' ? new LocalBackend(location) : location;
}
