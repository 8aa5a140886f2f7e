import { ChainError, DamagedError, NbdeltaError, RepositoryError } from '../errors.js';
import { inParallel } from './in-parallel.js';
import type { MachineRecord, NewestPoint } from './machine-record.js';
import { MANIFEST_DIGEST_NAME, MANIFEST_NAME, type Point } from './manifest.js';
import { readPoint } from './point-folder.js';
import { isPointId } from './point-id.js';
import { chainPoints, sortPoints, type UnreadablePoint } from './point-order.js';
import type { StorageBackend } from './storage-backend.js';
import { supersededIds } from './superseded.js';

/** Somebody would have to remove the newest point between two reads, this often in a row. */
const MAX_ROUNDS = 5;

const BRING_BACK =
  'Bring it back from a copy of the repository; or take a full, and name an older point by its id to restore it.';

/** A machine's committed points. What cannot be read is not hidden: it is listed apart, with its error. */
export interface PointList {
  /** By sequence, oldest first. */
  readonly points: readonly Point[];
  /** Damaged or missing: known from their folders, from a child, or from `machine.json`. */
  readonly unreadable: readonly UnreadablePoint[];
}

/** The folders of a machine that are called like a point. */
export interface PointFolders {
  /** With a manifest. */
  readonly committed: readonly string[];
  /** Without one. */
  readonly incomplete: readonly string[];
  /** Those of the incomplete ones that have a `manifest.sha256`: perhaps they were points once. */
  readonly perhapsLost: readonly string[];
  /** Entries with a point's name that are no folders, such as links. */
  readonly strange: readonly string[];
}

/** Sorts a machine's folders by what is in them; reads no file. */
export async function listPointFolders(backend: StorageBackend, machine: string): Promise<PointFolders> {
  const { folders, strange } = await listPlaces(backend, machine);
  return { ...(await sortFolders(backend, machine, folders)), strange };
}

/** What is called like a point: folders, and what is none. */
async function listPlaces(
  backend: StorageBackend,
  machine: string,
): Promise<{ readonly folders: readonly string[]; readonly strange: readonly string[] }> {
  const entries = (await backend.list(machine)).filter(({ name }) => isPointId(name));
  return {
    folders: entries.filter(({ kind }) => kind === 'folder').map(({ name }) => name),
    strange: entries.filter(({ kind }) => kind !== 'folder').map(({ name }) => name),
  };
}

async function sortFolders(
  backend: StorageBackend,
  machine: string,
  folders: readonly string[],
): Promise<Omit<PointFolders, 'strange'>> {
  const committed: string[] = [];
  const incomplete: string[] = [];
  const perhapsLost: string[] = [];
  const contents = await inParallel(folders, name => backend.list(`${machine}/${name}`));
  for (const [index, name] of folders.entries()) {
    const files = contents[index]!.map(file => file.name);
    (files.includes(MANIFEST_NAME) ? committed : incomplete).push(name);
    if (!files.includes(MANIFEST_NAME) && files.includes(MANIFEST_DIGEST_NAME)) perhapsLost.push(name);
  }
  return { committed, incomplete, perhapsLost };
}

/**
 * Reads every manifest of a machine, and compares with the newest point that its record names: with that one
 * gone, an older point would look like the newest, and the next incremental would miss what lies between.
 * @param readRecord called before the folders are listed: a point committed in between is then no puzzle.
 */
export async function readPointList(
  backend: StorageBackend,
  machine: string,
  readRecord: () => Promise<MachineRecord | null>,
): Promise<PointList> {
  let record = await readRecord();
  for (let round = 1; ; round++) {
    const list = withoutSuperseded(await readFolders(backend, machine), record);
    const compared = record?.newest ? withNewest(list, record.newest) : list;
    if (compared.unreadable.length === list.unreadable.length || round === MAX_ROUNDS) return compared;
    // Removed on purpose in between? Then the record says so by now.
    const now = await readRecord();
    if (now?.newest?.id === record?.newest?.id) return compared;
    record = now;
  }
}

function withoutSuperseded({ points, unreadable }: PointList, record: MachineRecord | null): PointList {
  const gone = supersededIds(points, record);
  if (gone.size === 0) return { points, unreadable };
  return {
    points: points.filter(point => !gone.has(point.manifest.id)),
    unreadable: unreadable.filter(({ id }) => !gone.has(id)),
  };
}

async function readFolders(backend: StorageBackend, machine: string): Promise<PointList> {
  const { folders, strange } = await listPlaces(backend, machine);
  const points: Point[] = [];
  const unreadable: UnreadablePoint[] = strange.map(id => ({ id, error: noFolder(machine, id) }));
  const results = await inParallel(folders, id => tryRead(backend, machine, id));
  for (const result of results) {
    if (result === null) continue;
    if ('error' in result) unreadable.push(result);
    else points.push(result);
  }
  const parents = new Set(points.map(point => point.manifest.parent?.id));
  const without = folders.filter((id, index) => results[index] === null && parents.has(id));
  const { perhapsLost: lost } = await sortFolders(backend, machine, without);
  unreadable.push(...lost.map(id => ({ id, error: noManifest(machine, id) })));
  return { points: sortPoints(points), unreadable };
}

/** `null`: nothing was committed in that folder, or it was removed since. */
async function tryRead(
  backend: StorageBackend,
  machine: string,
  id: string,
): Promise<Point | UnreadablePoint | null> {
  try {
    return await readPoint(backend, machine, id);
  } catch (error) {
    if (isPointDefect(error)) return { id, error };
    if (error instanceof RepositoryError && error.code === 'POINT_UNKNOWN') return null;
    throw error;
  }
}

/** Wrong with this point, as opposed to the storage as a whole. */
function isPointDefect(error: unknown): error is NbdeltaError {
  if (error instanceof DamagedError || error instanceof ChainError) return true;
  return error instanceof NbdeltaError && error.code === 'FORMAT_UNSUPPORTED';
}

/**
 * The list with what the record says of the newest point. A readable point with a higher sequence is newer
 * than the record: a run was killed between the commit and the record.
 */
function withNewest({ points, unreadable }: PointList, newest: NewestPoint): PointList {
  const { id, sequence } = newest;
  if (unreadable.some(point => point.id === id)) {
    return {
      points,
      unreadable: unreadable.map(point => (point.id === id ? { ...point, sequence } : point)),
    };
  }
  const same = points.find(point => point.manifest.id === id);
  if (same?.sha256 === newest.manifestSha256 || isReplaced(points, newest)) return { points, unreadable };
  const error = same === undefined ? missingNewest(newest) : foreignNewest(newest, same);
  return {
    points: points.filter(point => point !== same),
    unreadable: [...unreadable, { id, error, sequence }],
  };
}

function isReplaced(points: readonly Point[], { id, sequence }: NewestPoint): boolean {
  return chainPoints(points).some(
    ({ manifest }) => manifest.sequence > sequence || manifest.replaces.includes(id),
  );
}

function missingNewest({ id }: NewestPoint): ChainError {
  return new ChainError(
    'CHAIN_MISSING',
    `point ${id} is missing (no ${MANIFEST_NAME}), and it is the newest that was committed`,
    {
      hint: BRING_BACK,
      fields: { missing: id },
    },
  );
}

function foreignNewest({ id, manifestSha256 }: NewestPoint, seen: Point): DamagedError {
  const message = `the manifest of point ${id} has SHA-256 ${seen.sha256}, but ${manifestSha256} was committed`;
  return new DamagedError(message, { hint: BRING_BACK, fields: { point: id } });
}

function noManifest(machine: string, id: string): ChainError {
  const message = `${machine}@${id}: ${MANIFEST_NAME} is missing, and another point builds on this one`;
  return new ChainError('CHAIN_TORN', message, {
    hint: 'Bring the file back from a copy of the repository.',
    fields: { point: id },
  });
}

function noFolder(machine: string, id: string): ChainError {
  return new ChainError('CHAIN_FOREIGN', `${machine}/${id} is no folder but a link or a file`, {
    hint: 'Links are not followed inside a repository: put the folder itself in its place, or remove the link.',
    fields: { point: id },
  });
}
