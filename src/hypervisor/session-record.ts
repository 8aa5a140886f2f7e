import * as z from 'zod';

const reason = z.object({ code: z.string().min(1), text: z.string() });

const disk = z.object({
  /** As in the point: libvirt's target, QEMU's node or device, or what the caller named an image. */
  name: z.string(),
  /** Bytes that the guest sees. */
  size: z.int().nonnegative(),
  /** `qcow2`, `raw` … */
  format: z.string(),
  /** What stays the same of it from backup to backup, without credentials. */
  source: z.string().nullable(),
  /** NBD URI to read it from. */
  uri: z.string(),
  /** Bitmap of the export (context `qemu:dirty-bitmap:NAME`) with what changed since the session's base; `null`: none. */
  bitmap: z.string().nullable(),
  /** Why there is no bitmap although the session has a base; `code` is stable. */
  reason: reason.nullable(),
});

/**
 * A running backup job, and everything that ending it needs: plain JSON, so that another process can end it.
 * Written down before anything is made in the hypervisor, and again when it stands.
 */
export const sessionRecordSchema = z.object({
  version: z.literal(1),
  /** Name of the run: see `run-name.ts`. */
  run: z.string(),
  kind: z.enum(['libvirt', 'qmp', 'image', 'nbd']),
  /** As given: `libvirt:web1`. One, or one for each image. */
  sources: z.array(z.string()).min(1),
  /** libvirt's connection URI, when one was given. */
  connect: z.string().nullable(),
  guest: z.object({ name: z.string(), id: z.string().nullable() }),
  startedAt: z.iso.datetime(),
  /** `planned`: perhaps nothing exists of it yet; `running`: the exports can be read. */
  state: z.enum(['planned', 'running']),
  /** The checkpoint (bitmap) that began with this job; `null` when it has none: a copy, a guest that is off in libvirt. */
  checkpoint: z.string().nullable(),
  /** The committed checkpoint that the bitmaps record since; `null`: everything is read. */
  since: z.string().nullable(),
  disks: z.array(disk),
  /** Notices for the point: `{code, text}`. */
  warnings: z.array(reason),
  /** The front-end's own: what it made, in its words. */
  details: z.record(z.string(), z.unknown()),
});

export type SessionRecord = Readonly<z.output<typeof sessionRecordSchema>>;
export type SessionDisk = Readonly<SessionRecord['disks'][number]>;
