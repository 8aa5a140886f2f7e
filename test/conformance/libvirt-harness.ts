import { mkdir, writeFile } from 'node:fs/promises';
import { startLibvirtd } from '../support/libvirt/libvirtd.js';
import { definePausedDomain } from '../support/libvirt/paused-domain.js';
import { createQcow2 } from '../support/qcow2-image.js';
import type { GuestHarness } from './guest-harness.js';
import { filesIn } from './left-files.js';

const SIZE = 8 * 2 ** 20;
const DISKS = ['vda', 'vdb'];

/** A paused domain with two empty qcow2 disks in a libvirtd of its own, for `libvirt:`. */
export async function startLibvirtGuest(): Promise<GuestHarness> {
  const libvirtd = await startLibvirtd();
  const { folder } = libvirtd;
  const image = (disk: string) => folder.file(`${disk}.qcow2`);
  for (const disk of DISKS) await createQcow2(image(disk), SIZE);
  const disks = DISKS.map(target => ({ target, image: image(target), format: 'qcow2' as const }));
  const domain = await definePausedDomain(libvirtd, { name: 'web1', disks });
  const [scratch, socketDir] = [folder.file('scratch'), folder.file('nbd')];
  await mkdir(scratch);
  const hasJob = async () => (await libvirtd.tryVirsh('backup-dumpxml', 'web1')).code === 0;
  return {
    source: 'libvirt:web1',
    options: { connect: libvirtd.uri, scratch, scratchReserve: 1 << 20, socketDir },
    disks: DISKS,
    size: SIZE,
    fill: (disk, offset, length, byte) => domain.fill(disk, offset, length, byte),
    async leftovers() {
      const job = (await hasJob()) ? ['job'] : [];
      return [...job, ...(await filesIn(scratch)), ...(await filesIn(socketDir))];
    },
    async checkpoints() {
      const bitmaps = await domain.bitmaps();
      return { ...bitmaps, libvirt: await domain.checkpoints() };
    },
    async cancelJob() {
      await libvirtd.virsh('domjobabort', 'web1');
    },
    async crash() {
      // What QEMU still caches is lost with it, as with a guest that did not flush: that is not what is tested.
      for (const disk of DISKS) await domain.qemuIo(disk, 'flush');
      await domain.killQemu();
      await domain.start();
    },
    async grow(disk, size) {
      await domain.resize(disk, size);
    },
    occupied: 'JOB_CONFLICT',
    async occupy() {
      const target = (disk: string) =>
        `<disk name='${disk}' backup='yes' type='file'><scratch file='${folder.file(`other-${disk}`)}'/></disk>`;
      const server = `<server transport='unix' socket='${folder.file('other.sock')}'/>`;
      const xml = `<domainbackup mode='pull'>${server}<disks>${DISKS.map(target).join('')}</disks></domainbackup>`;
      await writeFile(folder.file('other.xml'), xml);
      await libvirtd.virsh('backup-begin', 'web1', folder.file('other.xml'));
      return { [Symbol.asyncDispose]: async () => void (await libvirtd.virsh('domjobabort', 'web1')) };
    },
    [Symbol.asyncDispose]: () => libvirtd[Symbol.asyncDispose](),
  };
}
