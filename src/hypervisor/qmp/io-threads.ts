import { ioThreadError, outlivesReaders } from '../io-threads.js';
import type { QemuDisk } from './block-devices.js';
import { queryObjects, queryProperty } from './qemu-state.js';
import type { QmpClient } from './qmp-client.js';

/** The disks that an I/O thread serves, where QEMU dies of it. */
export async function findUnsafeDisks(
  client: QmpClient,
  disks: readonly QemuDisk[],
): Promise<readonly QemuDisk[]> {
  if (outlivesReaders(client.version)) return [];
  const objects = await queryObjects(client);
  if (!objects.some(({ type }) => type === 'child<iothread>')) return [];
  const unsafe: QemuDisk[] = [];
  for (const disk of disks) if (await isInThread(client, disk)) unsafe.push(disk);
  return unsafe;
}

async function isInThread(client: QmpClient, { qdev }: QemuDisk): Promise<boolean> {
  // Nobody says which nodes a storage daemon's exports have taken into a thread.
  if (qdev === undefined) return true;
  const device = qdev.replace(/\/virtio-backend$/, '');
  // A SCSI disk has none of its own: the controller on whose bus it is does.
  const bus = await queryProperty(client, device, 'parent_bus');
  const controller = typeof bus === 'string' ? bus.replace(/(\/virtio-backend)?\/[^/]*$/, '') : '';
  for (const path of [device, controller].filter(part => part.startsWith('/'))) {
    for (const property of ['iothread', 'iothread-vq-mapping']) {
      const thread = await queryProperty(client, path, property);
      if (thread !== undefined && thread !== null && thread !== '') return true;
    }
  }
  return false;
}

/** @throws HypervisorError HYPERVISOR_TOO_OLD naming the disks. */
export async function refuseUnsafeDisks(client: QmpClient, disks: readonly QemuDisk[]): Promise<void> {
  const unsafe = (await findUnsafeDisks(client, disks)).map(({ name }) => name);
  if (unsafe.length > 0) throw ioThreadError(unsafe, client.version);
}
