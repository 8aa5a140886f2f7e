import { nameLink, type OpenChain } from '../../chain/open-chain.js';
import type { MachineStore } from '../../repository/machine-store.js';
import { checkHeader, checkLayout } from './check-layout.js';

/** Headers, tar and pack tables of the one archive of `chain`. */
export async function checkVolumeFiles(machine: MachineStore, chain: OpenChain): Promise<void> {
  const { point, disk } = chain.links[0]!;
  const archive = chain.archives[0]!;
  for (const [index, { name }] of disk.archive.volumes.entries()) {
    const reader = await machine.openVolume(point.id, name);
    try {
      checkHeader(await archive.header(index + 1), disk);
      await checkLayout(reader, index + 1, archive);
    } catch (error) {
      throw nameLink(error, machine.name, point.id, disk.name);
    } finally {
      await reader.close();
    }
  }
}
