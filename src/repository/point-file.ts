import { createHash } from 'node:crypto';
import { ChainError, DamagedError } from '../errors.js';
import type { Point } from './manifest.js';
import type { StorageBackend } from './storage-backend.js';

/** Largest small file that is read whole. Bytes. */
const MAX_BYTES = 128 << 20;

/**
 * A small file of a point, such as `domain.xml`, checked against the manifest; `undefined` when the point has none.
 * @throws ChainError CHAIN_TORN when it is missing; DamagedError when its content is not what was committed.
 */
export async function readPointFile(
  backend: StorageBackend,
  machine: string,
  { manifest }: Point,
  name: string,
): Promise<Uint8Array | undefined> {
  const entry = manifest.files.find(file => file.name === name);
  if (entry === undefined) return undefined;
  const fields = { point: manifest.id, file: name };
  const hint = 'Bring it back from a copy of the repository.';
  const bytes = await backend.read(`${machine}/${manifest.id}/${name}`, { maxBytes: MAX_BYTES });
  if (bytes === null) {
    throw new ChainError('CHAIN_TORN', `point ${manifest.id}: ${name} is missing`, { hint, fields });
  }
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  if (bytes.length === entry.bytes && sha256 === entry.sha256) return bytes;
  const seen = `${bytes.length} bytes with SHA-256 ${sha256}, expected ${entry.bytes} with ${entry.sha256}`;
  throw new DamagedError(`point ${manifest.id}: ${name} has ${seen}`, { hint, fields });
}
