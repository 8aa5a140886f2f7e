import { z } from 'zod';
import { RepositoryError } from '../errors.js';
import { type DocumentKind, decodeDocument } from './json-document.js';
import { isMachineName } from './machine-name.js';
import { diskNameSchema } from './manifest-schema.js';

export const MACHINE_RECORD_NAME = 'machine.json';
export const MACHINE_RECORD_MAX_BYTES = 1024 * 1024;

const machineRecordSchema = z.object({
  format: z.literal('nbdelta-machine'),
  version: z.literal(1),
  features: z.array(z.string()).default([]),
  name: z.string().refine(isMachineName, 'not a machine name'),
  /** The domain's UUID, or what `--machine-id` said. */
  id: z.string().min(1).max(256).nullable(),
  disks: z.record(diskNameSchema, z.object({ source: z.string().nullable() })),
  created: z.iso.datetime(),
});

/** `machine.json`: which guest a folder of points belongs to. */
export type MachineRecord = z.output<typeof machineRecordSchema>;

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

/**
 * The record after a backup of `identity`. An id decides when both have one; otherwise the sources of the
 * disks that both name must be equal. Without this an incremental of one guest could land on the full of
 * another that took its name, and restore a mixture of both.
 * @throws RepositoryError MACHINE_MISMATCH.
 */
export function adoptIdentity(record: MachineRecord, identity: MachineIdentity): MachineRecord {
  if (record.id !== null && identity.id !== null) checkSameId(record.name, record.id, identity.id);
  else if (record.id !== null || identity.id === null) checkSameSources(record, identity);
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

function checkSameSources(record: MachineRecord, identity: MachineIdentity): void {
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
            ? 'Use another --name if this is another guest; pass --machine-id if it is the same one.'
            : `Use another --name if this is another guest; pass --machine-id ${record.id} if it is the same one.`,
        fields: { machine: record.name, disk: name, recorded: before, stated: source },
      },
    );
  }
}
