import * as z from 'zod';
import { NbdeltaError } from '../../errors.js';
import { ARCHIVE_ID_PATTERN } from './archive-id.js';
import { MAX_VOLUMES, TRAILER_LENGTH } from './format-limits.js';

/** Name of the last member of every volume. */
export const TRAILER_MEMBER = 'trailer.json';

const length = z.int().min(0).max(Number.MAX_SAFE_INTEGER);

const indexPlaceSchema = z.object({
  offset: length,
  storedLength: length,
  rawLength: length,
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
});

const trailerSchema = z
  .object({
    archiveId: z.string().regex(ARCHIVE_ID_PATTERN),
    volume: z.int().min(1).max(MAX_VOLUMES),
    last: z.boolean(),
    index: indexPlaceSchema.optional(),
  })
  .refine(trailer => trailer.last === (trailer.index !== undefined), 'only the last volume has an index');

/** Where `index.zst` is in its volume's file, and the SHA-256 of its stored bytes (hex). Bytes. */
export type IndexPlace = Readonly<z.infer<typeof indexPlaceSchema>>;

/** What `trailer.json` says. `index` is there exactly when `last` is true. */
export type ArchiveTrailer = Readonly<z.infer<typeof trailerSchema>>;

/** 512 bytes: JSON, spaces, a newline. */
export function encodeArchiveTrailer(trailer: ArchiveTrailer): Buffer {
  const text = JSON.stringify(trailerSchema.parse(trailer));
  if (text.length >= TRAILER_LENGTH) {
    throw new NbdeltaError(
      'INTERNAL',
      `trailer of ${text.length} bytes, expected less than ${TRAILER_LENGTH}`,
    );
  }
  return Buffer.from(`${text.padEnd(TRAILER_LENGTH - 1)}\n`);
}

/** `null` when these bytes are not a trailer; what that means is the caller's to say: it knows the file. */
export function decodeArchiveTrailer(bytes: Buffer): ArchiveTrailer | null {
  if (bytes.length !== TRAILER_LENGTH) return null;
  const trailer = trailerSchema.safeParse(parseJson(bytes.toString('utf8')));
  return trailer.success ? trailer.data : null;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
