/** docs/instant-recovery.md, step by step: a guest runs from a served point, and moves to real storage while it writes. */
import { randomBytes } from 'node:crypto';
import { expect, it } from 'vitest';
import { serve } from '#nbdelta/index.js';
import { describeWith } from '../support/peers.js';
import { runOk, waitFor } from '../support/processes.js';
import { createQcow2, readImage } from '../support/qcow2-image.js';
import { startQemuSystem } from '../support/qemu-system.js';
import { expectSameBytes, fileDigests } from '../support/restore-check.js';
import { tempFolder } from '../support/temp-folder.js';
import { backUpGuests, socketPath, TrackedGuest } from '../support/tracked-guest.js';

const MIB = 2 ** 20;
const SIZE = 32 * MIB;

describeWith(['qemu-system-x86_64', 'qemu-img'], 'instant recovery', () => {
  it('boots from an overlay on a served point, moves while it runs, and needs the backup no more', async () => {
    await using folder = await tempFolder();
    const guest = new TrackedGuest(SIZE);
    guest.write(0, randomBytes(5 * MIB));
    guest.write(20 * MIB, randomBytes(MIB));
    await backUpGuests(folder, { vda: guest });
    guest.zero(MIB, 2 * MIB);
    await backUpGuests(folder, { vda: guest });
    const before = await fileDigests(folder.file('repo'));

    const listen = { kind: 'unix', path: socketPath(folder) } as const;
    const served = await serve({ repository: folder.file('repo'), point: 'guest', disk: 'vda', listen });
    const [overlay, place] = [folder.file('overlay.qcow2'), folder.file('place.qcow2')];
    const backing = ['-b', served.disks[0]!.uri, '-F', 'raw'];
    await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', ...backing, overlay]);
    await createQcow2(place, SIZE);

    const expected = Buffer.from(guest.content);
    {
      await using machine = await startQemuSystem({ disks: [{ name: 'vda', image: overlay }] });
      const write = async (offset: number, pattern: number) => {
        await machine.qemuIo(`write -P ${pattern} ${offset} 64k`);
        expected.fill(pattern, offset, offset + 65_536);
      };
      await write(3 * MIB, 11);
      const file = { driver: 'file', filename: place };
      await machine.qmp.execute('blockdev-add', { driver: 'qcow2', 'node-name': 'target', file });
      await machine.qmp.execute('blockdev-mirror', {
        ...{ 'job-id': 'move', device: 'disk-vda', target: 'target', sync: 'full' },
      });
      await write(10 * MIB, 22);
      await machine.qmp.event('BLOCK_JOB_READY');
      await write(20 * MIB, 33);
      await machine.qmp.execute('job-complete', { id: 'move' });
      await waitFor(async () => {
        const jobs = (await machine.qmp.execute('query-jobs')) as readonly unknown[];
        return jobs.length === 0;
      }, 'the end of the move');
      // From here on nothing of the backup is needed.
      await served.close();
      await write(30 * MIB, 44);
      await machine.qemuIo('read -P 33 20M 64k');
      await machine.qemuIo(`read -P 0 ${MIB} 1M`);
      await machine.qemuIo('flush');
    }
    expectSameBytes(await readImage(place), expected, 'the moved disk');
    const info = JSON.parse(await runOk('qemu-img', ['info', '--output=json', place]));
    expect(info['backing-filename']).toBeUndefined();
    expect(await fileDigests(folder.file('repo'))).toEqual(before);
  }, 120_000);
});
