import { mkdir } from 'node:fs/promises';
import { createQcow2 } from '../support/qcow2-image.js';
import { diskNode, startQemuSystem } from '../support/qemu-system.js';
import type { QmpObject } from '../support/qmp.js';
import { tempFolder } from '../support/temp-folder.js';
import type { GuestHarness } from './guest-harness.js';
import { filesIn } from './left-files.js';

const SIZE = 8 * 2 ** 20;
const DISKS = ['vda', 'vdb'];

/** A paused QEMU with two empty qcow2 disks, for `qmp:`. */
export async function startQmpGuest(): Promise<GuestHarness> {
  const folder = await tempFolder();
  for (const disk of DISKS) await createQcow2(folder.file(`${disk}.qcow2`), SIZE);
  const images = DISKS.map(name => ({ name, image: folder.file(`${name}.qcow2`) }));
  let qemu = await startQemuSystem({ disks: images });
  const ask = async (command: string, options = {}) =>
    (await qemu.qmp.execute(command, options)) as readonly QmpObject[];
  const nodes = () => ask('query-named-block-nodes', { flat: true });
  const own = new Set((await nodes()).map(node => String(node['node-name'])));
  const [scratch, socketDir] = [folder.file('scratch'), folder.file('sockets')];
  await mkdir(scratch);
  return {
    get source() {
      return `qmp:${qemu.qmpSocket}`;
    },
    options: { scratch, scratchReserve: 1 << 20, socketDir },
    disks: DISKS.map(diskNode),
    size: SIZE,
    fill: (disk, offset, length, byte) =>
      qemu.qemuIo(`write -P ${byte} ${offset} ${length}`, disk.replace(/^disk-/, '')),
    async leftovers() {
      const jobs = (await ask('query-jobs')).map(job => `job ${String(job['id'])}`);
      const exports = (await ask('query-block-exports')).map(entry => `export ${String(entry['id'])}`);
      const made = (await nodes())
        .map(node => String(node['node-name']))
        .filter(node => !own.has(node) && !node.startsWith('#'))
        .map(node => `node ${node}`);
      return [...jobs, ...exports, ...made, ...(await filesIn(scratch)), ...(await filesIn(socketDir))];
    },
    async checkpoints() {
      const found: Record<string, readonly string[]> = {};
      for (const node of await nodes()) {
        const bitmaps = (node['dirty-bitmaps'] ?? []) as readonly QmpObject[];
        if (DISKS.map(diskNode).includes(String(node['node-name']))) {
          found[String(node['node-name'])] = bitmaps.map(bitmap => String(bitmap['name']));
        }
      }
      return found;
    },
    async cancelJob() {
      for (const { id } of await ask('query-jobs')) await qemu.qmp.execute('job-cancel', { id });
    },
    async crash() {
      // What QEMU still caches is lost with it, as with a guest that did not flush: that is not what is tested.
      for (const disk of DISKS) await qemu.qemuIo('flush', disk);
      await qemu.process.kill();
      await qemu[Symbol.asyncDispose]();
      qemu = await startQemuSystem({ disks: images });
    },
    async grow(disk, size) {
      await qemu.qmp.execute('block_resize', { 'node-name': disk, size });
    },
    occupied: 'JOB_CONFLICT',
    async occupy() {
      const job = await qemu.beginPullBackup({ checkpoint: 'somebody-elses' });
      return {
        async [Symbol.asyncDispose]() {
          await job.end();
          for (const node of DISKS.map(diskNode)) {
            await qemu.qmp.execute('block-dirty-bitmap-remove', { node, name: 'somebody-elses' });
          }
        },
      };
    },
    async [Symbol.asyncDispose]() {
      await qemu[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
    },
  };
}
