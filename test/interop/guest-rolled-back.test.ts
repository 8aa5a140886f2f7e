/** Images that are not what they were: put back to a copy, or in each other's place, with the bitmaps that they have. */
import { copyFile, mkdir } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { backupGuest, type Manifest } from '#nbdelta/index.js';
import { describeWith } from '../support/peers.js';
import { createQcow2 } from '../support/qcow2-image.js';
import { startQemuSystem } from '../support/qemu-system.js';
import { restoreBytes } from '../support/restore-check.js';
import { tempFolder } from '../support/temp-folder.js';

const SIZE = 4 << 20;
const BLOCK = 65_536;

describeWith(['qemu-system-x86_64', 'qemu-img', 'stdbuf'], 'an image that is not what it was', () => {
  it('rolled back to before the newest point undoes that point: the older bitmap is no superset of it', async () => {
    await using folder = await tempFolder();
    const [image, copy] = [folder.file('vda.qcow2'), folder.file('copy.qcow2')];
    await createQcow2(image, SIZE);
    await mkdir(folder.file('scratch'));

    /** A run of the guest: it writes one block, and is backed up. */
    async function runGuest(block: number, byte: number, backup = true): Promise<Manifest | undefined> {
      await using guest = await startQemuSystem({ disks: [{ name: 'vda', image }] });
      await guest.qemuIo(`write -P ${byte} ${block * BLOCK} ${BLOCK}`);
      if (!backup) return undefined;
      const places = { scratch: folder.file('scratch'), socketDir: folder.file('sockets') };
      const { point } = await backupGuest({
        ...{ source: `qmp:${guest.qmpSocket}`, ...places, scratchReserve: 1 << 20 },
        ...{ repository: folder.file('repo'), machine: 'guest', stateDir: folder.file('state') },
      });
      return point;
    }

    const full = await runGuest(0, 1);
    await runGuest(1, 2, false);
    await copyFile(image, copy);
    const undone = await runGuest(2, 3);
    await copyFile(copy, image);
    const last = await runGuest(3, 4);

    expect(undone?.parent?.id).toBe(full!.id);
    expect(last).toMatchObject({
      level: 'incremental',
      parent: { id: full!.id },
      since: { point: full!.id },
    });
    const seen = await restoreBytes(folder.file('repo'), `guest@${last!.id}`, 'disk-vda');
    expect([0, 1, 2, 3].map(block => seen[block * BLOCK])).toEqual([1, 2, 0, 4]);
  });

  it('in the place of another one: what that one held is not kept, though both have the bitmap', async () => {
    await using folder = await tempFolder();
    const images = ['a', 'b'].map(name => folder.file(`${name}.qcow2`));
    for (const image of images) await createQcow2(image, SIZE);
    await mkdir(folder.file('scratch'));
    // Without an id their sources would tell.
    const extra = ['-uuid', '6b2c4b1e-4a51-4b8e-9d0e-0123456789ab'];

    async function backUp(vda: string, vdb: string, bytes?: readonly [number, number]): Promise<Manifest> {
      const disks = [
        { name: 'vda', image: vda },
        { name: 'vdb', image: vdb },
      ];
      await using guest = await startQemuSystem({ disks, extra });
      for (const [index, byte] of (bytes ?? []).entries()) {
        await guest.qemuIo(`write -P ${byte} 0 ${BLOCK}`, disks[index]!.name);
      }
      const places = { scratch: folder.file('scratch'), socketDir: folder.file('sockets') };
      const { point } = await backupGuest({
        ...{ source: `qmp:${guest.qmpSocket}`, ...places, scratchReserve: 1 << 20 },
        ...{ repository: folder.file('repo'), machine: 'guest', stateDir: folder.file('state') },
      });
      return point;
    }

    await backUp(images[0]!, images[1]!, [1, 2]);
    const swapped = await backUp(images[1]!, images[0]!);
    const compared = { level: 'incremental', method: 'rescan', reason: { code: 'disk-swapped' } };
    expect(swapped.disks).toMatchObject([compared, compared]);
    for (const [disk, byte] of [['disk-vda', 2] as const, ['disk-vdb', 1] as const]) {
      expect((await restoreBytes(folder.file('repo'), `guest@${swapped.id}`, disk))[0]).toBe(byte);
    }
  });
});
