import { HypervisorError } from '../../errors.js';
import type { QemuDisk } from './block-devices.js';
import { queryObjects, queryProperty } from './qemu-state.js';
import type { QmpClient } from './qmp-client.js';

/** 8.2.3 and 9.0: "only traverse NBDExport->clients from main loop thread" (f816310d0c32). */
const SAFE_SINCE = [8, 2, 3] as const;

/**
 * The disks that an I/O thread serves, where QEMU's NBD server dies of it: before, a client that leaves an export is
 * put away in the export's thread, and with the fix of CVE-2024-7409, which distributions carry back and which relies on
 * the main thread, an assertion then ends QEMU, guest and all (`nbd_blockdev_client_closed`; every time on
 * Debian's 7.2.22). The schema does not tell it, the version must do.
 */
export async function findUnsafeDisks(
  client: QmpClient,
  disks: readonly QemuDisk[],
): Promise<readonly QemuDisk[]> {
  if (isSafe(client.version)) return [];
  const objects = await queryObjects(client);
  if (!objects.some(({ type }) => type === 'child<iothread>')) return [];
  const unsafe: QemuDisk[] = [];
  for (const disk of disks) if (await isInThread(client, disk)) unsafe.push(disk);
  return unsafe;
}

export function isSafe(version: string): boolean {
  const parts = version.split('.').map(Number);
  for (const [index, needed] of SAFE_SINCE.entries()) {
    const seen = parts[index] ?? 0;
    if (seen !== needed) return seen > needed;
  }
  return true;
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
      hint: 'QEMU 8.2.3 and newer are safe; until then exclude the disk, or run it without an I/O thread',
      fields: { disks: unsafe, version: client.version },
    },
  );
}
