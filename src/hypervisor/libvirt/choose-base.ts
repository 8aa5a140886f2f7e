import type { BaseCheckpoint, Reason } from '../front-end.js';
import { parseCheckpoint } from './checkpoint-xml.js';
import type { Domain } from './domain-xml.js';
import type { LibvirtConnection } from './libvirt-connection.js';
import { redefineCheckpoint } from './redefine-checkpoint.js';

/** What the disks' bitmaps are taken since. */
export interface ChosenBase {
  /** `null`: no base can be used; everything is read. */
  readonly name: string | null;
  /** Disks that are read whole all the same, and why. */
  readonly unusable: ReadonlyMap<string, Reason>;
  readonly warnings: readonly Reason[];
}

/** The newest base that still exists, or can be made known again, with at least one disk's bitmap. */
export async function chooseBase(
  connection: LibvirtConnection,
  domain: Domain,
  disks: readonly string[],
  bases: readonly BaseCheckpoint[],
): Promise<ChosenBase> {
  if (bases.length === 0) return { name: null, unusable: new Map(), warnings: [] };
  const known = await connection.checkpoints(domain.uuid);
  const problems: Reason[] = [];
  let best: ReadonlyMap<string, Reason> | undefined;
  for (const base of bases) {
    const found = known.includes(base.name)
      ? { warnings: [] }
      : await makeKnown(connection, domain, known, base, problems);
    if (found === undefined) continue;
    const unusable = await unusableDisks(connection, domain.uuid, base.name, disks);
    if (unusable.size < disks.length) return { name: base.name, unusable, warnings: found.warnings };
    best ??= unusable;
  }
  const missing = missingReason(bases[0]!, problems);
  return { name: null, unusable: best ?? new Map(disks.map(disk => [disk, missing])), warnings: [] };
}

async function makeKnown(
  connection: LibvirtConnection,
  domain: Domain,
  known: readonly string[],
  base: BaseCheckpoint,
  problems: Reason[],
): Promise<{ readonly warnings: readonly Reason[] } | undefined> {
  if (base.definition === undefined) return undefined;
  const redefined = await redefineCheckpoint(connection, domain, known, base.name, base.definition);
  if (redefined.done) return { warnings: [{ code: 'checkpoint-redefined', text: redefined.text }] };
  problems.push({ code: 'checkpoint-missing', text: redefined.text });
  return undefined;
}

function missingReason(newest: BaseCheckpoint, problems: readonly Reason[]): Reason {
  const why = problems[0]?.text ?? `libvirt has no checkpoint ${newest.name} any more`;
  return { code: 'checkpoint-missing', text: why };
}

/** Disks on which a checkpoint is worth nothing. libvirt gives no size for a bitmap that is missing or inconsistent. */
async function unusableDisks(
  { virsh }: LibvirtConnection,
  uuid: string,
  name: string,
  disks: readonly string[],
): Promise<ReadonlyMap<string, Reason>> {
  const options = { checkpointname: name, 'no-domain': true, size: true } as const;
  const checkpoint = parseCheckpoint(await virsh.domain(uuid, 'checkpoint-dumpxml', { options }));
  const found = new Map(checkpoint.disks.map(disk => [disk.name, disk]));
  const reasons = disks.flatMap<[string, Reason]>(disk => {
    const entry = found.get(disk);
    if (entry?.bitmap === undefined) return [[disk, notInCheckpoint(disk, name)]];
    return entry.size === undefined ? [[disk, inconsistentBitmap(disk, entry.bitmap)]] : [];
  });
  return new Map(reasons);
}

function notInCheckpoint(disk: string, checkpoint: string): Reason {
  return { code: 'disk-not-in-checkpoint', text: `checkpoint ${checkpoint} has no bitmap of disk ${disk}` };
}

export function inconsistentBitmap(disk: string, bitmap: string): Reason {
  const text = `bitmap ${bitmap} of disk ${disk} is missing or inconsistent: after a crash of QEMU, or a removal`;
  return { code: 'bitmap-inconsistent', text };
}
