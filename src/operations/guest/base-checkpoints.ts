import type { BaseCheckpoint } from '../../hypervisor/front-end.js';
import type { MachineStore } from '../../repository/machine-store.js';
import type { CheckpointPoint } from '../../repository/needed-checkpoints.js';

/** The file of a point that holds its checkpoint as libvirt keeps it. */
export const CHECKPOINT_FILE = 'checkpoint.xml';

/** Checkpoints of points with what the hypervisor may have forgotten of them. @throws DamagedError. */
export async function withDefinitions(
  machine: MachineStore,
  checkpoints: readonly CheckpointPoint[],
): Promise<readonly BaseCheckpoint[]> {
  const bases: BaseCheckpoint[] = [];
  for (const { checkpoint, point } of checkpoints) {
    const bytes = await machine.readPointFile(point, CHECKPOINT_FILE);
    bases.push({ name: checkpoint, definition: bytes && Buffer.from(bytes).toString('utf8') });
  }
  return bases;
}
