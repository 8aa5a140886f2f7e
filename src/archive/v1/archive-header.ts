import * as z from 'zod';
import { ChainError, NbdeltaError } from '../../errors.js';
import { ARCHIVE_ID_PATTERN } from './archive-id.js';
import {
  ARCHIVE_FORMAT,
  ARCHIVE_VERSION,
  MAX_DISK_SIZE,
  MAX_FRAME_RAW,
  MAX_VOLUMES,
} from './format-limits.js';

/** Name of the first member of every volume. */
export const HEADER_MEMBER = 'header.json';
/** A header is a few hundred bytes; nobody needs more than this. */
export const HEADER_MAX_LENGTH = 64 * 1024;

/** Required features that this version understands: none were needed yet. */
const KNOWN_FEATURES: readonly string[] = [];

const versionSchema = z.object({ format: z.string(), version: z.number(), features: z.array(z.string()) });

const headerSchema = z.object({
  format: z.literal(ARCHIVE_FORMAT),
  version: z.literal(ARCHIVE_VERSION),
  archiveId: z.string().regex(ARCHIVE_ID_PATTERN),
  volume: z.int().min(1).max(MAX_VOLUMES),
  parentArchiveId: z.string().regex(ARCHIVE_ID_PATTERN).nullable(),
  disk: z.string().min(1).max(255),
  size: z.int().min(0).max(MAX_DISK_SIZE),
  frameSize: z.int().min(1).max(MAX_FRAME_RAW),
  codec: z.string().max(64),
  features: z.array(z.string()),
});

/** What `header.json` says. Bytes. */
export type ArchiveHeader = Readonly<z.infer<typeof headerSchema>>;

/** The header as it is stored: one field a line, for `cat`. */
export function encodeArchiveHeader(header: ArchiveHeader): Buffer {
  return Buffer.from(`${JSON.stringify(headerSchema.parse(header), null, 2)}\n`);
}

/**
 * @throws NbdeltaError FORMAT_UNSUPPORTED for a version or required feature that is not known; ChainError
 *   CHAIN_TORN when this is no header at all.
 */
export function decodeArchiveHeader(bytes: Buffer): ArchiveHeader {
  const value = parseJson(bytes);
  checkVersion(value);
  const header = headerSchema.safeParse(value);
  if (header.success) return header.data;
  throw new ChainError('CHAIN_TORN', `${HEADER_MEMBER} is not valid: ${z.prettifyError(header.error)}`);
}

function checkVersion(value: unknown): void {
  const claimed = versionSchema.safeParse(value);
  if (!claimed.success) return; // The whole schema says what is wrong.
  const { format, version, features } = claimed.data;
  const unknown = features.filter(feature => !KNOWN_FEATURES.includes(feature));
  if (format === ARCHIVE_FORMAT && version === ARCHIVE_VERSION && unknown.length === 0) return;
  const what = unknown.length > 0 ? `feature ${unknown.join(', ')}` : `format ${format} version ${version}`;
  throw new NbdeltaError(
    'FORMAT_UNSUPPORTED',
    `archive has ${what}, expected ${ARCHIVE_FORMAT} ${ARCHIVE_VERSION}`,
    {
      hint: 'use the version of nbdelta that wrote it, or a newer one',
    },
  );
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch (cause) {
    throw new ChainError('CHAIN_TORN', `${HEADER_MEMBER} is not JSON`, { cause });
  }
}
