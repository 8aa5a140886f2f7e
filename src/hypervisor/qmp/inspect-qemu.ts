import { basename } from 'node:path';
import type { DiskSelection, Guest } from '../front-end.js';
import { selectDisks } from '../select-disks.js';
import { findDisks, type QemuDisk, type QemuDisks } from './block-devices.js';
import { queryDevices, queryGraph, queryName, queryNodes, queryStatus, queryUuid } from './qemu-state.js';
import type { QmpClient } from './qmp-client.js';

/** A guest, and its disks with their nodes. */
export interface QemuGuest extends Guest {
  readonly disks: readonly QemuDisk[];
}

export async function inspectQemu(client: QmpClient, selection: DiskSelection): Promise<QemuGuest> {
  const status = await queryStatus(client);
  const { disks, skipped } = selectDisks(await readDisks(client, status === undefined), selection);
  return {
    kind: 'qmp',
    name: (await queryName(client)) ?? nameOfSocket(client.path),
    id: await queryUuid(client),
    // A daemon serves somebody else's guest: it must be taken for one that writes.
    state: status === 'running' || status === undefined ? 'running' : 'paused',
    disks,
    skipped,
    versions: { qemu: client.version },
  };
}

export async function readDisks(client: QmpClient, isDaemon: boolean): Promise<QemuDisks> {
  return findDisks({
    devices: await queryDevices(client),
    nodes: await queryNodes(client),
    graph: await queryGraph(client),
    isDaemon,
  });
}

/** `/run/web1.sock` is of web1. */
function nameOfSocket(path: string): string {
  return basename(path).replace(/\.(?:sock|socket|qmp|monitor)$/, '') || 'guest';
}
