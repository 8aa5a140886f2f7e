import { createHash } from 'node:crypto';
import type * as z from 'zod';
import { DamagedError, NbdeltaError } from '../errors.js';
import { type DocumentKind, decodeDocument, describeIssue, encodeDocument } from './json-document.js';
import { manifestSchema, STANDS_FOR } from './manifest-schema.js';

export const MANIFEST_NAME = 'manifest.json';
export const MANIFEST_DIGEST_NAME = 'manifest.sha256';
export const MANIFEST_MAX_BYTES = 16 * 1024 * 1024;

type DeepReadonly<T> = T extends object ? { readonly [Key in keyof T]: DeepReadonly<T[Key]> } : T;

/** A recovery point, as its `manifest.json` describes it. All sizes are bytes. */
export type Manifest = DeepReadonly<z.output<typeof manifestSchema>>;
/** What a caller may write: fields with a default can be left out. */
export type ManifestInput = DeepReadonly<z.input<typeof manifestSchema>>;
export type DiskEntry = Manifest['disks'][number];
export type StoredDisk = Extract<DiskEntry, { status: 'stored' }>;
export type FailedDisk = Extract<DiskEntry, { status: 'failed' }>;
export type ArchiveEntry = StoredDisk['archive'];
export type PointLevel = Manifest['level'];
export type ChangeMethod = NonNullable<DiskEntry['method']>;
export type Reason = NonNullable<Manifest['reason']>;
export type Since = Manifest['since'];

/** A committed point: its manifest, and the SHA-256 (hex) of the manifest's bytes that a child names. */
export interface Point {
  readonly manifest: Manifest;
  readonly sha256: string;
}

const MANIFEST: DocumentKind<typeof manifestSchema> = {
  format: 'nbdelta-point',
  version: 1,
  knownFeatures: [STANDS_FOR],
  schema: manifestSchema,
  invalid: (message, cause) =>
    new DamagedError(message, { cause, hint: 'Restore the file from a copy of the repository.' }),
};

/**
 * The bytes of `manifest.json`. Checked as a reader checks them: what was committed can be read again.
 * @throws NbdeltaError INTERNAL when the manifest breaks its own rules.
 */
export function encodeManifest(manifest: ManifestInput): Uint8Array {
  const result = manifestSchema.safeParse(manifest);
  if (!result.success) {
    throw new NbdeltaError('INTERNAL', `manifest of ${manifest.id}: ${describeIssue(result.error)}`, {
      cause: result.error,
    });
  }
  const bytes = encodeDocument(result.data);
  if (bytes.length <= MANIFEST_MAX_BYTES) return bytes;
  const size = `${bytes.length} bytes, expected at most ${MANIFEST_MAX_BYTES}`;
  throw new NbdeltaError('INTERNAL', `manifest of ${manifest.id} has ${size}`);
}

/**
 * Reads `manifest.json`.
 * @param name how messages call it, e.g. `web1@20261122T173000Z-1a2b3c4d`.
 * @throws DamagedError, or NbdeltaError FORMAT_UNSUPPORTED.
 */
export function decodeManifest(bytes: Uint8Array, name = MANIFEST_NAME): Manifest {
  return decodeDocument(bytes, name, MANIFEST);
}

/** SHA-256 of a manifest's bytes, in hex. */
export function manifestDigest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** The content of `manifest.sha256`, so that `sha256sum -c manifest.sha256` checks a point. */
export function encodeDigestFile(sha256: string): Uint8Array {
  return new TextEncoder().encode(`${sha256}  ${MANIFEST_NAME}\n`);
}

/** The digest in a `manifest.sha256`. @throws DamagedError when it has another form. */
export function decodeDigestFile(bytes: Uint8Array, name: string): string {
  const match = /^([0-9a-f]{64}) [ *]manifest\.json\n?$/.exec(Buffer.from(bytes).toString('latin1'));
  if (match?.[1] !== undefined) return match[1];
  throw new DamagedError(`${name}: ${MANIFEST_DIGEST_NAME} is not in the form of sha256sum`, {
    hint: `Compare with \`sha256sum ${MANIFEST_NAME}\` and a copy of the repository.`,
  });
}
