import { parseRunName } from '../run-name.js';
import { queryNodes } from './qemu-state.js';
import type { QmpClient } from './qmp-client.js';

/** Names of the bitmaps that nbdelta made here, oldest first; each is on one disk or on several. */
export async function listCheckpoints(client: QmpClient): Promise<readonly string[]> {
  const names = new Set<string>();
  for (const node of await queryNodes(client)) {
    for (const { name } of node['dirty-bitmaps']) if (name !== undefined) names.add(name);
  }
  return [...names]
    .map(name => parseRunName(name))
    .filter(run => run !== undefined)
    .sort((one, other) => one.startedAt.getTime() - other.startedAt.getTime())
    .map(({ text }) => text);
}
