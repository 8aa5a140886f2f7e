import { ChainError, DamagedError, RepositoryError } from '../errors.js';
import {
  decodeDigestFile,
  decodeManifest,
  MANIFEST_DIGEST_NAME,
  MANIFEST_MAX_BYTES,
  MANIFEST_NAME,
  manifestDigest,
  type Point,
} from './manifest.js';
import type { StorageBackend } from './storage-backend.js';
import { isStorageName } from './storage-path.js';

const DIGEST_MAX_BYTES = 1024;

/**
 * Reads a committed point and checks its manifest against `manifest.sha256` and against the place it is in.
 * @throws RepositoryError POINT_UNKNOWN when nothing was committed there.
 * @throws DamagedError, ChainError CHAIN_TORN (no digest file) or CHAIN_FOREIGN (belongs elsewhere),
 *   NbdeltaError FORMAT_UNSUPPORTED.
 */
export async function readPoint(backend: StorageBackend, machine: string, id: string): Promise<Point> {
  const folder = `${machine}/${id}`;
  const name = `${machine}@${id}`;
  const bytes = await backend.read(`${folder}/${MANIFEST_NAME}`, { maxBytes: MANIFEST_MAX_BYTES });
  if (bytes === null) throw unknownPoint(machine, id);
  const sha256 = manifestDigest(bytes);
  const digest = await backend.read(`${folder}/${MANIFEST_DIGEST_NAME}`, { maxBytes: DIGEST_MAX_BYTES });
  // Both gone means that the point was removed in between: no damage, just no point any more.
  if (digest === null && (await isGone(backend, folder))) throw unknownPoint(machine, id);
  checkDigest(digest, name, sha256);
  const manifest = decodeManifest(bytes, name);
  if (manifest.id === id && manifest.machine.name === machine) return { manifest, sha256 };
  throw new ChainError(
    'CHAIN_FOREIGN',
    `${name}: the manifest is of ${manifest.machine.name}@${manifest.id}: the folder was renamed or moved`,
    { hint: 'Give the folder its name back.', fields: { machine, point: id } },
  );
}

function unknownPoint(machine: string, id: string): RepositoryError {
  return new RepositoryError('POINT_UNKNOWN', `machine ${machine} has no point ${id}`, {
    hint: 'List the points of the machine to see which there are.',
    fields: { machine, point: id },
  });
}

async function isGone(backend: StorageBackend, folder: string): Promise<boolean> {
  return (await backend.list(folder)).every(file => file.name !== MANIFEST_NAME);
}

function checkDigest(bytes: Uint8Array | null, name: string, seen: string): void {
  if (bytes === null) {
    // It is written before the manifest: a copy of the repository stopped halfway, or somebody removed it.
    throw new ChainError('CHAIN_TORN', `${name}: ${MANIFEST_DIGEST_NAME} is missing`, {
      hint: 'Copy the whole folder again; or, if you trust the manifest, make the file with sha256sum.',
    });
  }
  const expected = decodeDigestFile(bytes, name);
  if (seen === expected) return;
  throw new DamagedError(`${name}: ${MANIFEST_NAME} has SHA-256 ${seen}, expected ${expected}`, {
    hint: 'Bring the manifest back from a copy of the repository.',
  });
}

/**
 * Removes a point's folder with everything in it. The manifest goes first: from then on there is no such
 * point, and what a crash leaves behind is an incomplete folder, never a point without its data.
 * @throws RepositoryError REPOSITORY_INVALID when something is in it that a point does not have: then nothing
 *   but the manifest is removed. StorageError.
 */
export async function removePointFolder(backend: StorageBackend, folder: string): Promise<void> {
  await backend.remove(`${folder}/${MANIFEST_NAME}`);
  const entries = await backend.list(folder);
  const strange = entries.find(({ kind, name }) => kind === 'folder' || !isStorageName(name));
  if (strange !== undefined) throw strangeEntry(folder, strange.name);
  for (const { name } of entries) await backend.remove(`${folder}/${name}`);
  await backend.removeFolder(folder);
}

function strangeEntry(folder: string, name: string): RepositoryError {
  return new RepositoryError(
    'REPOSITORY_INVALID',
    `${folder} is not removed: ${JSON.stringify(name)} in it does not belong to a point`,
    { hint: 'Look who put it there, and move it away.', fields: { folder, entry: name } },
  );
}
