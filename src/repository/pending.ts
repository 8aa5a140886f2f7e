import { errorLine, NbdeltaError, RepositoryError } from '../errors.js';
import { encodeDocument } from './json-document.js';
import type { StorageBackend } from './storage-backend.js';

/** The journal of a machine's running operation: what has to be put right if it dies. */
export const PENDING_NAME = 'pending.json';
const MAX_BYTES = 1 << 20;

/** The journal, or `null` when nothing is running. Its content is its writer's. @throws RepositoryError when damaged. */
export async function readPending(backend: StorageBackend, machine: string): Promise<unknown> {
  const path = pendingPath(machine);
  const bytes = await backend.read(path, { maxBytes: MAX_BYTES });
  if (bytes === null) return null;
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new RepositoryError('REPOSITORY_INVALID', `${path}: not readable as JSON (${errorLine(cause)})`, {
      cause,
      hint: 'It is the journal of a run that died: end by hand what that run left, then remove the file.',
      fields: { machine },
    });
  }
}

/** Writes or replaces the journal, durably. */
export async function putPending(backend: StorageBackend, machine: string, document: object): Promise<void> {
  const bytes = encodeDocument(document);
  if (bytes.length > MAX_BYTES) {
    throw new NbdeltaError(
      'INTERNAL',
      `the journal of ${machine} has ${bytes.length} bytes, at most ${MAX_BYTES}`,
    );
  }
  await backend.replace(pendingPath(machine), bytes);
}

/** Removes the journal. Safe twice. */
export async function clearPending(backend: StorageBackend, machine: string): Promise<void> {
  await backend.remove(pendingPath(machine));
}

function pendingPath(machine: string): string {
  return `${machine}/${PENDING_NAME}`;
}
