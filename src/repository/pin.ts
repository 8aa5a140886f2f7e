import * as z from 'zod';
import { NbdeltaError, RepositoryError, UsageError } from '../errors.js';
import { type DocumentKind, decodeDocument, encodeDocument } from './json-document.js';
import type { StorageBackend } from './storage-backend.js';

/** In a point's folder, so that it goes wherever the folder is copied. */
export const PIN_NAME = 'pinned.json';
const PIN_MAX_BYTES = 64 * 1024;
const NOTE_MAX_LENGTH = 1024;
const PINS_AT_ONCE = 8;

const pinSchema = z.object({
  format: z.literal('nbdelta-pin'),
  version: z.literal(1),
  features: z.array(z.string()).default([]),
  created: z.iso.datetime(),
  /** Why, for people. */
  note: z.string().max(NOTE_MAX_LENGTH).nullable(),
});

/** `pinned.json`: this point stays, whatever a policy says. */
export type Pin = Readonly<z.output<typeof pinSchema>>;

/** The pins of a machine, by point. What cannot be read counts as pinned for whoever removes. */
export interface PinList {
  readonly pins: ReadonlyMap<string, Pin>;
  readonly unreadable: ReadonlyMap<string, NbdeltaError>;
}

const PIN: DocumentKind<typeof pinSchema> = {
  format: 'nbdelta-pin',
  version: 1,
  knownFeatures: [],
  schema: pinSchema,
  invalid: (message, cause) =>
    new RepositoryError('REPOSITORY_INVALID', message, {
      cause,
      hint: 'The point counts as pinned: pin it again to mend the file, or unpin it.',
    }),
};

/** @throws UsageError for a note that is too long. */
export function newPin(note: string | null, now: Date): Pin {
  if ((note?.length ?? 0) > NOTE_MAX_LENGTH) {
    throw new UsageError(`the note has ${note?.length} characters, at most ${NOTE_MAX_LENGTH} are kept`);
  }
  return { format: 'nbdelta-pin', version: 1, features: [], created: now.toISOString(), note };
}

/** The pin of the point in `folder`, or `null`. @throws RepositoryError, NbdeltaError FORMAT_UNSUPPORTED, StorageError. */
export async function readPin(backend: StorageBackend, folder: string): Promise<Pin | null> {
  const path = `${folder}/${PIN_NAME}`;
  const bytes = await backend.read(path, { maxBytes: PIN_MAX_BYTES });
  return bytes === null ? null : decodeDocument(bytes, path, PIN);
}

/** The pins of many points; one that cannot be read does not hide the others. */
export async function readPins(
  backend: StorageBackend,
  machine: string,
  ids: readonly string[],
): Promise<PinList> {
  const pins = new Map<string, Pin>();
  const unreadable = new Map<string, NbdeltaError>();
  const readInto = async (id: string) => {
    try {
      const pin = await readPin(backend, `${machine}/${id}`);
      if (pin !== null) pins.set(id, pin);
    } catch (error) {
      if (!(error instanceof NbdeltaError)) throw error;
      unreadable.set(id, error);
    }
  };
  for (let start = 0; start < ids.length; start += PINS_AT_ONCE) {
    await Promise.all(ids.slice(start, start + PINS_AT_ONCE).map(readInto));
  }
  return { pins, unreadable };
}

/** Pins the point in `folder`, or replaces its pin. */
export async function putPin(backend: StorageBackend, folder: string, pin: Pin): Promise<void> {
  await backend.replace(`${folder}/${PIN_NAME}`, encodeDocument(pin));
}

/** Safe twice, and on a pin that cannot be read. */
export async function removePin(backend: StorageBackend, folder: string): Promise<void> {
  await backend.remove(`${folder}/${PIN_NAME}`);
}
