import * as z from 'zod';
import { RepositoryError } from '../errors.js';
import { type DocumentKind, decodeDocument } from './json-document.js';
import { isMachineName } from './machine-name.js';
import type { Manifest, Point } from './manifest.js';
import { diskNameSchema } from './manifest-schema.js';
import { isPointId } from './point-id.js';

export const MACHINE_RECORD_NAME = 'machine.json';
export const MACHINE_RECORD_MAX_BYTES = 1024 * 1024;

const sequence = z.int().positive();

const newestSchema = z.object({
  id: z.string().refine(isPointId, 'not a point id'),
  sequence,
  manifestSha256: z.string().regex(/^[0-9a-f]{64}$/, 'not a SHA-256 in hex'),
});

const machineRecordSchema = z.object({
  format: z.literal('nbdelta-machine'),
  version: z.literal(1),
  features: z.array(z.string()).default([]),
  name: z.string().refine(isMachineName, 'not a machine name'),
  /** The domain's UUID, or what `--machine-id` said. */
  id: z.string().min(1).max(256).nullable(),
  disks: z.record(diskNameSchema, z.object({ source: z.string().nullable() })),
  created: z.iso.datetime(),
  /**
   * The newest point of a chain, written right after its commit. A readable point with a higher sequence is
   * newer; if there is none and this one cannot be read, the newest point was lost.
   */
  newest: newestSchema.nullish(),
  /** The highest sequence of any point, also of those that are gone. */
  sequence: sequence.optional(),
  /** Points that are being removed: nobody begins to read them any more. */
  removing: z.array(z.string().refine(isPointId, 'not a point id')).optional(),
});

/** `machine.json`: which guest a folder of points belongs to. */
export type MachineRecord = z.output<typeof machineRecordSchema>;

export type NewestPoint = Readonly<z.output<typeof newestSchema>>;

/** What a backup knows of the guest it is about to read. */
export interface MachineIdentity {
  readonly id: string | null;
  /** Where a disk is read from, without credentials; `null` says nothing (a temporary socket). */
  readonly disks: readonly { readonly name: string; readonly source: string | null }[];
}

const MACHINE: DocumentKind<typeof machineRecordSchema> = {
  format: 'nbdelta-machine',
  version: 1,
  knownFeatures: [],
  schema: machineRecordSchema,
  invalid: (message, cause) =>
    new RepositoryError('REPOSITORY_INVALID', message, {
      cause,
      hint: 'Restore the file from a copy of the repository.',
    }),
};

/** Reads `machine.json`. @throws RepositoryError REPOSITORY_INVALID, NbdeltaError FORMAT_UNSUPPORTED. */
export function decodeMachineRecord(bytes: Uint8Array, folder: string): MachineRecord {
  const record = decodeDocument(bytes, `${folder}/${MACHINE_RECORD_NAME}`, MACHINE);
  if (record.name === folder) return record;
  throw MACHINE.invalid(`${folder}/${MACHINE_RECORD_NAME}: names machine ${record.name}, expected ${folder}`);
}

/** The record of a machine that is backed up for the first time. */
export function newMachineRecord(name: string, identity: MachineIdentity, now: Date): MachineRecord {
  const empty: MachineRecord = {
    format: 'nbdelta-machine',
    version: 1,
    features: [],
    name,
    id: identity.id,
    disks: {},
    created: now.toISOString(),
  };
  return adoptIdentity(empty, identity);
}

/** What tells guests apart, as a record or a point has it. */
type KnownGuest = Pick<MachineRecord, 'name' | 'id' | 'disks'>;

/**
 * The record after a backup of `identity`.
 * @param startsChain see {@link checkSameGuest}.
 * @throws RepositoryError MACHINE_MISMATCH.
 */
export function adoptIdentity(
  record: MachineRecord,
  identity: MachineIdentity,
  startsChain = false,
): MachineRecord {
  checkSameGuest(record, identity, startsChain);
  const disks = Object.entries(record.disks).map(([name, disk]): [string, { source: string | null }] => [
    name,
    { source: disk.source },
  ]);
  const known = new Map(disks);
  for (const { name, source } of identity.disks) {
    known.set(name, { source: source ?? known.get(name)?.source ?? null });
  }
  return { ...record, id: record.id ?? identity.id, disks: Object.fromEntries(known) };
}

/**
 * An id decides when both have one; otherwise the sources of the disks that both name must be equal. Without
 * this an incremental of one guest could land on the full of another that took its name, and restore a mixture
 * of both. A machine without an id takes one over from a guest with other sources only where that cannot
 * happen: `startsChain` says that the new point is a full that was asked for.
 * @throws RepositoryError MACHINE_MISMATCH.
 */
function checkSameGuest(known: KnownGuest, identity: MachineIdentity, startsChain: boolean): void {
  if (known.id !== null && identity.id !== null) checkSameId(known.name, known.id, identity.id);
  else if (known.id !== null || identity.id === null || !startsChain) checkSameSources(known, identity);
}

/**
 * Whether a point of the guest `identity` may build on `parent`. The record alone does not tell: a backup that
 * failed may have changed it.
 * @throws RepositoryError MACHINE_MISMATCH.
 */
export function checkParentGuest(parent: Manifest, identity: MachineIdentity): void {
  const { name, id } = parent.machine;
  const disks = Object.fromEntries(parent.disks.map(disk => [disk.name, { source: disk.source }]));
  checkSameGuest({ name, id, disks }, identity, false);
}

/** The record after the commit of `point`. */
export function withCommitted(record: MachineRecord, { manifest, sha256 }: Point): MachineRecord {
  const { id, sequence, level } = manifest;
  const highest = Math.max(sequence, record.sequence ?? 0);
  // A merged point takes the sequence of what it stands for: with others after it, it is not the newest.
  const isOlder = sequence < (record.newest?.sequence ?? 0);
  if (level === 'copy' || isOlder) return { ...record, sequence: highest };
  return { ...record, sequence: highest, newest: { id, sequence, manifestSha256: sha256 } };
}

/** The record before `ids` are removed on purpose; `left`: the newest point that remains. */
export function withRemoving(
  record: MachineRecord,
  ids: readonly string[],
  left: Point | undefined,
): MachineRecord {
  const removing = [...new Set([...(record.removing ?? []), ...ids])];
  const { newest } = record;
  return newest && removing.includes(newest.id)
    ? { ...record, removing, newest: newestOf(left) }
    : { ...record, removing };
}

/** The record when `ids` are gone. */
export function withRemoved(
  { removing = [], ...record }: MachineRecord,
  ids: ReadonlySet<string>,
): MachineRecord {
  const left = removing.filter(id => !ids.has(id));
  return left.length === 0 ? record : { ...record, removing: left };
}

function newestOf(point: Point | undefined): NewestPoint | null {
  if (point === undefined) return null;
  const { id, sequence } = point.manifest;
  return { id, sequence, manifestSha256: point.sha256 };
}

function checkSameId(name: string, recorded: string, stated: string): void {
  if (recorded.toLowerCase() === stated.toLowerCase()) return;
  throw new RepositoryError(
    'MACHINE_MISMATCH',
    `machine ${name} is the guest with id ${recorded}, but this backup is of a guest with id ${stated}`,
    {
      hint: 'Use another --name for this guest, or --machine-id with the recorded id if it is the same one.',
      fields: { machine: name, recorded, stated },
    },
  );
}

function checkSameSources(record: KnownGuest, identity: MachineIdentity): void {
  const recorded = new Map(Object.entries(record.disks));
  for (const { name, source } of identity.disks) {
    const before = recorded.get(name)?.source ?? null;
    if (before === null || source === null || before === source) continue;
    throw new RepositoryError(
      'MACHINE_MISMATCH',
      `disk ${name} of machine ${record.name} was read from ${before}, but this backup reads ${source}`,
      {
        hint:
          record.id === null
            ? 'Use another --name if this is another guest; take a full with --level full and --machine-id if it is the same one.'
            : `Use another --name if this is another guest; pass --machine-id ${record.id} if it is the same one.`,
        fields: { machine: record.name, disk: name, recorded: before, stated: source },
      },
    );
  }
}
