import { errorLine, NbdeltaError } from '../../errors.js';
import { adaptForRedefinition, parseCheckpoint } from './checkpoint-xml.js';
import type { Domain } from './domain-xml.js';
import type { LibvirtConnection } from './libvirt-connection.js';
import { brokenBitmap } from './virsh-error.js';

export interface RedefineResult {
  readonly done: boolean;
  /** One sentence: what was done, or why not. */
  readonly text: string;
}

/**
 * Makes a checkpoint known to libvirt again that it forgot (a transient domain, a move to another host), from what
 * the point kept of it. libvirt validates that the bitmaps are there; a disk without is left out of it.
 */
export async function redefineCheckpoint(
  connection: LibvirtConnection,
  domain: Domain,
  known: readonly string[],
  name: string,
  definition: string,
): Promise<RedefineResult> {
  const failed = (why: string) => ({ done: false, text: `checkpoint ${name} cannot be redefined: ${why}` });
  try {
    const why = mismatch(definition, domain, name);
    if (why !== undefined) return failed(why);
    const disks = await redefine(connection, domain, known, definition);
    if (disks.length === 0) return failed('none of its bitmaps is there');
    return {
      done: true,
      text: `libvirt had forgotten checkpoint ${name}; it was redefined, with ${disks.join(', ')}`,
    };
  } catch (error) {
    // Without it the disks are read whole, which is always right; libvirt being away is not for us to decide.
    if (error instanceof NbdeltaError && error.code === 'HYPERVISOR_FAILED') return failed(errorLine(error));
    throw error;
  }
}

/** The bitmaps of another domain's checkpoint say nothing about this one. */
function mismatch(definition: string, domain: Domain, name: string): string | undefined {
  const checkpoint = parseCheckpoint(definition);
  if (checkpoint.name !== name) return `its description is of ${checkpoint.name}`;
  if (checkpoint.domainUuid === domain.uuid) return undefined;
  return `it is of domain ${checkpoint.domainUuid ?? 'unknown'}, not ${domain.uuid}`;
}

async function redefine(
  { virsh }: LibvirtConnection,
  domain: Domain,
  checkpoints: readonly string[],
  definition: string,
): Promise<readonly string[]> {
  const disks = domain.disks.map(disk => disk.target);
  const options = { redefine: true, 'redefine-validate': true } as const;
  for (const without: string[] = []; ; ) {
    const { xml, disks: kept } = adaptForRedefinition(definition, { checkpoints, disks }, without);
    if (kept.length === 0) return [];
    try {
      await virsh.domain(domain.uuid, 'checkpoint-create', { options, documents: { xmlfile: xml } });
      return kept;
    } catch (error) {
      const broken = brokenBitmap(error)?.disk;
      if (broken === undefined || !kept.includes(broken)) throw error;
      without.push(broken);
    }
  }
}
