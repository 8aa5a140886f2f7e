import { randomBytes } from 'node:crypto';
import { UsageError } from '../../errors.js';
import { ARCHIVE_ID_LENGTH } from './format-limits.js';

/** An archive's id is 16 random bytes; outside of binary tables it is written as 32 lower-case hex digits. */
export const ARCHIVE_ID_PATTERN = /^[0-9a-f]{32}$/;

export function newArchiveId(): string {
  return randomBytes(ARCHIVE_ID_LENGTH).toString('hex');
}

/** @throws UsageError when `id` is not 32 lower-case hex digits. */
export function archiveIdBytes(id: string): Buffer {
  if (!ARCHIVE_ID_PATTERN.test(id))
    throw new UsageError(`archive id ${JSON.stringify(id)} is not 32 hex digits`);
  return Buffer.from(id, 'hex');
}

/** The id at `at` of a binary table. */
export function archiveIdAt(bytes: Buffer, at: number): string {
  return bytes.toString('hex', at, at + ARCHIVE_ID_LENGTH);
}
