import * as z from 'zod';
import { isMachineName } from './machine-name.js';
import { PIN_NAME } from './pin.js';
import { isPointId } from './point-id.js';

const VOLUME_NAME = /^[A-Za-z0-9._-]+\.\d{4,}\.tar$/;
const MAX_DISKS = 1024;
const MAX_VOLUMES = 65_536;
const MAX_STAND_INS = 1024;

/** The required feature of a point that stands for others: a reader without it would take its children for orphans. */
export const STANDS_FOR = 'stands-for';

const bytes = z.int().nonnegative();
const sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'not a SHA-256 in hex');
const pointId = z.string().refine(isPointId, 'not a point id');
const archiveId = z.string().regex(/^[0-9a-f]{32}$/, 'not an archive id');
const time = z.iso.datetime();
const levelName = z.enum(['full', 'incremental', 'differential', 'copy']);
const reason = z.object({ code: z.string().min(1), text: z.string() }).nullable();

/** Name of a disk in manifests and `machine.json`: what libvirt calls its target, e.g. `vda`. */
export const diskNameSchema = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'not a disk name');

// A volume's name becomes a path: anything but a plain file name could lead out of the point's folder.
const volume = z.object({ name: z.string().max(200).regex(VOLUME_NAME, 'not a volume name'), bytes });

const archive = z
  .object({
    archiveId,
    parentArchiveId: archiveId.nullable(),
    codec: z.string().min(1).max(64),
    frameSize: z.int().positive(),
    volumes: z.array(volume).min(1).max(MAX_VOLUMES),
    /** Where the index is: `volume` counts from 1, as in the volume's name. */
    index: z.object({
      volume: z.int().positive(),
      offset: bytes,
      storedLength: bytes,
      rawLength: bytes,
      sha256,
    }),
    frames: bytes,
    extents: bytes,
    dataBytes: bytes,
    zeroBytes: bytes,
    storedBytes: bytes,
  })
  .refine(isIndexInside, 'the index lies outside of the volumes');

function isIndexInside(entry: {
  readonly volumes: readonly { readonly bytes: number }[];
  readonly index: { readonly volume: number; readonly offset: number; readonly storedLength: number };
}): boolean {
  const holder = entry.volumes[entry.index.volume - 1];
  return holder !== undefined && entry.index.offset + entry.index.storedLength <= holder.bytes;
}

/** A small file of a point: a plain name, and never one that the point itself needs. */
const FILE_NAME = /^[a-z][a-z0-9-]{0,63}\.(xml|fd|json|txt)$/;

const file = z.object({
  name: z
    .string()
    .regex(FILE_NAME, 'not a name for a file of a point')
    .refine(name => !name.startsWith('manifest.'), 'that file is the manifest itself')
    .refine(name => name !== PIN_NAME, 'that file is the pin'),
  bytes,
  sha256,
});

/** The guest as its hypervisor described it; absent where only exports were known. */
const guest = z.object({
  kind: z.enum(['libvirt', 'qmp', 'image', 'nbd']),
  name: z.string(),
  /** Its uuid. */
  id: z.string().nullable(),
  state: z.enum(['running', 'paused', 'off']),
  /** Whether its file systems were frozen while the job began. */
  quiesced: z.boolean(),
  /** The run that took the point: names what it made in the hypervisor. */
  run: z.string(),
  /** Of the hypervisor's parts, e.g. `{ libvirt: "9.0.0", qemu: "7.2.22" }`. */
  versions: z.record(z.string(), z.string()),
});

/** A point that a merged one stands for: those that were stored on it build on the merged one from now on. */
const standIn = z.object({
  id: pointId,
  manifestSha256: sha256,
  /** Its archives, by disk. */
  archives: z.record(diskNameSchema, archiveId),
});

const diskFields = {
  name: diskNameSchema,
  source: z.string().nullable(),
  /** Format of the image that it was read from. */
  format: z.string().optional(),
  size: bytes,
  level: levelName,
  /**
   * How an incremental or differential learned what changed: from the bitmap, or by comparing everything with the
   * parent point. Without it: from the bitmap.
   */
  method: z.enum(['bitmap', 'rescan']).optional(),
  reason,
  bitmap: z.string().nullable(),
  readBytes: bytes,
};

const storedDisk = z.object({ ...diskFields, status: z.literal('stored'), archive }).refine(disk => {
  const isBase = disk.level === 'full' || disk.level === 'copy';
  return isBase === (disk.archive.parentArchiveId === null);
}, 'level and parentArchiveId contradict each other');

const failedDisk = z.object({
  ...diskFields,
  status: z.literal('failed'),
  error: z.object({ code: z.string(), message: z.string() }),
});

/** The body of `manifest.json`, and what must hold between its fields. */
export const manifestSchema = z
  .object({
    format: z.literal('nbdelta-point'),
    version: z.literal(1),
    features: z.array(z.string()),
    id: pointId,
    /** Order of the machine's points: 1 more than the highest before, whatever the clock says. */
    sequence: z.int().positive(),
    machine: z.object({
      name: z.string().refine(isMachineName, 'not a machine name'),
      id: z.string().nullable(),
    }),
    guest: guest.optional(),
    created: time,
    level: levelName,
    reason,
    parent: z.object({ id: pointId, manifestSha256: sha256 }).nullable(),
    since: z.object({
      kind: z.enum(['point', 'asserted', 'none']),
      label: z.string().nullable(),
      point: pointId.nullable(),
    }),
    /** The checkpoint (or bitmap) that this point stands for: what a later `--since` names. */
    checkpoint: z.string().nullable(),
    partial: z.boolean(),
    /** Points that this one was merged from: where this one is, they are none any more. */
    replaces: z.array(pointId).default([]),
    standsFor: z.array(standIn).max(MAX_STAND_INS).default([]),
    disks: z
      .array(z.discriminatedUnion('status', [storedDisk, failedDisk]))
      .min(1)
      .max(MAX_DISKS),
    /** Small files beside the volumes: what defines the guest. */
    files: z.array(file).max(64).default([]),
    statistics: z.object({
      startedAt: time,
      finishedAt: time,
      readBytes: bytes,
      storedBytes: bytes,
      dataBytes: bytes,
      zeroBytes: bytes,
    }),
    warnings: z.array(z.object({ code: z.string(), text: z.string() })),
    software: z.object({ name: z.string(), version: z.string() }),
  })
  .superRefine((manifest, context) => {
    for (const message of contradictions(manifest)) context.addIssue({ code: 'custom', message });
  });

interface ManifestShape {
  readonly id: string;
  readonly features: readonly string[];
  readonly replaces: readonly string[];
  readonly standsFor: readonly { readonly id: string }[];
  readonly level: z.output<typeof levelName>;
  readonly parent: { readonly id: string } | null;
  readonly partial: boolean;
  readonly files: readonly { readonly name: string }[];
  readonly disks: readonly z.output<typeof storedDisk | typeof failedDisk>[];
}

function* contradictions(manifest: ManifestShape): Generator<string> {
  const needsParent = manifest.level === 'incremental' || manifest.level === 'differential';
  if (needsParent !== (manifest.parent !== null)) yield `level ${manifest.level} and parent contradict`;
  if (manifest.parent?.id === manifest.id) yield 'the point is its own parent';
  if (manifest.standsFor.length > 0 && !manifest.features.includes(STANDS_FOR))
    yield `it stands for others without the feature ${STANDS_FOR}`;
  if (manifest.replaces.includes(manifest.id)) yield 'the point replaces itself';
  if (manifest.standsFor.some(entry => !manifest.replaces.includes(entry.id)))
    yield 'it stands for a point that it does not replace';
  if (hasDuplicates(manifest.disks.map(disk => disk.name))) yield 'two disks have the same name';
  if (hasDuplicates(manifest.files.map(entry => entry.name))) yield 'two files have the same name';
  if (hasDuplicates(manifest.disks.flatMap(volumeNames))) yield 'two volumes have the same name';
  const failed = manifest.disks.find(disk => disk.status === 'failed');
  if (failed !== undefined && !manifest.partial) yield `disk ${failed.name} failed, but partial is false`;
  const orphan = manifest.disks.find(disk => isDelta(disk) && !needsParent);
  if (orphan !== undefined) yield `disk ${orphan.name} is ${orphan.level} in a point without a parent`;
}

function isDelta(disk: ManifestShape['disks'][number]): boolean {
  return disk.status === 'stored' && (disk.level === 'incremental' || disk.level === 'differential');
}

function volumeNames(disk: ManifestShape['disks'][number]): string[] {
  return disk.status === 'stored' ? disk.archive.volumes.map(entry => entry.name) : [];
}

function hasDuplicates(names: readonly string[]): boolean {
  return new Set(names).size !== names.length;
}
