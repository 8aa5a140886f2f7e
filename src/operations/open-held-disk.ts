import { type OpenChain, openChainArchives } from '../chain/open-chain.js';
import type { ResolvedPoint } from '../repository/repository.js';

/** Opens a disk of a point with everything that it builds on. @throws as `openChainArchives` and `MachineStore.openChain`. */
export async function openHeldDisk(
  { machine, points, point }: Pick<ResolvedPoint, 'machine' | 'points' | 'point'>,
  disk: string,
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<OpenChain> {
  return await openChainArchives(machine, await machine.openChain(points, point.manifest.id, disk), options);
}
