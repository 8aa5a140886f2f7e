import { HypervisorError } from '../../errors.js';
import type { QemuDisk } from './block-devices.js';
import { queryObjects, queryProperty } from './qemu-state.js';
import type { QmpClient } from './qmp-client.js';

/** The first QEMU whose NBD server handles all clients' ends in its main thread. */
const SAFE_SINCE = 9;

/**
 * The disks that an I/O thread serves, where QEMU's NBD server dies of it: up to 8.x a client that leaves an export in
 * an I/O thread is ended in that thread, and with the fix of CVE-2024-7409, which distributions carry back,
 * an assertion then ends QEMU, guest and all (`nbd_blockdev_client_closed`; every time on 7.2.22).
 * The schema does not tell it, the version must do.
 */
export async function findUnsafeDisks(
  client: QmpClient,
  disks: readonly QemuDisk[],
): Promise<readonly QemuDisk[]> {
  if (Number.parseInt(client.version, 10) >= SAFE_SINCE) return [];
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
  if (unsafe.length === 0) return;
  throw new HypervisorError(
    'HYPERVISOR_TOO_OLD',
    `an I/O thread serves ${unsafe.join(', ')}: QEMU ${client.version} may crash when a reader leaves such a disk`,
    {
      hint: 'QEMU 9.0 is safe; until then exclude the disk, or run it without an I/O thread',
      fields: { disks: unsafe, version: client.version },
    },
  );
}
