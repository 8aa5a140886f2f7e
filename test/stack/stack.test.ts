/** The stack that the other tests stand on: does a private libvirtd do what they take for granted? */
import { readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { describeStack } from '../support/libvirt/describe-stack.js';
import type { Domain } from '../support/libvirt/domain.js';
import { type Libvirtd, startLibvirtd } from '../support/libvirt/libvirtd.js';
import { type LinuxDomain, startLinuxDomain } from '../support/libvirt/linux-domain.js';
import { definePausedDomain } from '../support/libvirt/paused-domain.js';
import { contentAfter, sharedTick, TICKS_SIZE, ticksOf } from '../support/libvirt/ticks.js';
import { nbdinfoMap } from '../support/nbd-tools.js';
import { runOk, waitFor } from '../support/processes.js';
import { createQcow2, readImage } from '../support/qcow2-image.js';

const MIB = 2 ** 20;

function isAlive(pid: number): Promise<boolean> {
  return readFile(`/proc/${pid}/stat`, 'latin1').then(
    stat => !/\) [ZX]/.test(stat),
    () => false, // no such process
  );
}

async function startPaused(libvirtd: Libvirtd, name = 'web1'): Promise<Domain> {
  const image = libvirtd.folder.file(`${name}.qcow2`);
  await createQcow2(image, 8 * MIB);
  return await definePausedDomain(libvirtd, { name, disks: [{ target: 'vda', image, format: 'qcow2' }] });
}

describeStack('a private libvirtd', () => {
  let libvirtd: Libvirtd;
  let domain: Domain;

  beforeAll(async () => {
    libvirtd = await startLibvirtd();
    domain = await startPaused(libvirtd);
  });
  afterAll(() => libvirtd?.[Symbol.asyncDispose]());

  it("is nobody else's: the machine does not see it", async () => {
    await using other = await startLibvirtd();
    expect(await other.virsh('list', '--all', '--name')).toBe('');
    const inside = await libvirtd.inNamespace('cat', '/run/libvirt/qemu/web1.pid');
    expect(Number(inside.stdout)).toBe(await domain.qemuPid());
    await expect(readFile('/run/libvirt/qemu/web1.pid')).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('gives exports and dirty bitmaps of what the guest writes', async () => {
    const { folder } = libvirtd;
    const socket = folder.file('nbd.sock');
    const xml = (since: string) => `<domainbackup mode='pull'>${since}
        <server transport='unix' socket='${socket}'/></domainbackup>`;
    const begin = async (since: string, checkpoint: string) => {
      await writeFile(folder.file('job.xml'), xml(since));
      const name = `<domaincheckpoint><name>${checkpoint}</name></domaincheckpoint>`;
      await writeFile(folder.file('checkpoint.xml'), name);
      const documents = [folder.file('job.xml'), folder.file('checkpoint.xml')];
      await libvirtd.virsh('backup-begin', 'web1', ...documents);
    };
    await begin('', 'monday');
    await libvirtd.virsh('domjobabort', 'web1');
    await domain.fill('vda', 3 * 65_536, 65_536, 7);
    await waitFor(
      async () => (await libvirtd.tryVirsh('backup-dumpxml', 'web1')).code !== 0,
      'the job to end',
    );
    await begin('<incremental>monday</incremental>', 'tuesday');
    const map = await nbdinfoMap(`nbd+unix:///vda?socket=${socket}`, 'qemu:dirty-bitmap:backup-vda');
    expect(map.filter(({ type }) => type === 1)).toMatchObject([{ offset: 3 * 65_536, length: 65_536 }]);
    await libvirtd.virsh('domjobabort', 'web1');
    expect(await domain.checkpoints()).toEqual(['monday', 'tuesday']);
    expect((await domain.bitmaps())['vda']?.toSorted()).toEqual(['monday', 'tuesday']);
  });

  it('plugs disks in and out of the right place', async () => {
    const paused = await startPaused(libvirtd, 'plug');
    const image = libvirtd.folder.file('plug-vdc.qcow2');
    await createQcow2(image, MIB);
    await paused.attach({ target: 'vdc', image, format: 'qcow2' });
    await paused.fill('vdc', 0, 65_536, 9);
    await paused.fill('vda', 65_536, 512, 5);
    await paused.destroy();
    expect((await readImage(image)).subarray(0, 65_536).every(byte => byte === 9)).toBe(true);
    expect((await readImage(paused.disks[0]!.image))[65_536]).toBe(5);
  });

  it('is survived by its guests, and knows them when it is back', async () => {
    await libvirtd.kill();
    expect(await isAlive(await domain.qemuPid())).toBe(true);
    await libvirtd.start();
    await domain.fill('vda', 0, 512, 1);
    await domain.killQemu();
    await domain.start();
  });

  it('leaves nothing alive, mounted or on disk, though nobody ended its guests', async () => {
    const mine = await startLibvirtd();
    const pid = await (await startPaused(mine)).qemuPid();
    expect(await isAlive(pid)).toBe(true);
    await mine[Symbol.asyncDispose]();
    expect(await isAlive(pid)).toBe(false);
    expect(await readFile('/proc/mounts', 'utf8')).not.toContain(mine.folder.path);
    await expect(runOk('test', ['-e', mine.folder.path])).rejects.toThrow();
  });
}, ['nbdinfo']);

describeStack('a real guest', () => {
  let libvirtd: Libvirtd;
  let linux: LinuxDomain;

  beforeAll(async () => {
    libvirtd = await startLibvirtd();
    const image = libvirtd.folder.file('vda.qcow2');
    await createQcow2(image, TICKS_SIZE);
    const disks = [{ target: 'vda', image, format: 'qcow2' as const }];
    linux = await startLinuxDomain(libvirtd, { name: 'linux', disks, agent: true });
  }, 300_000);
  afterAll(async () => {
    linux?.[Symbol.dispose]();
    await libvirtd?.[Symbol.asyncDispose]();
  });

  it('runs what it is told, and says how that ended', async () => {
    expect(await linux.shell.run('echo one; echo two')).toBe('one\ntwo\n');
    expect(await linux.shell.tryRun('printf x; false')).toEqual({ code: 1, output: 'x' });
    await expect(linux.shell.run('false')).rejects.toThrow('exit code 1');
  });

  it('has an agent that libvirt can talk to', async () => {
    await linux.shell.run('mke2fs -F /dev/vda && mount -t ext2 /dev/vda /mnt');
    const freeze = await libvirtd.virsh('domfsfreeze', 'linux');
    expect(await libvirtd.virsh('domfsthaw', 'linux')).toBe(freeze);
    await linux.shell.run('umount /mnt && blkdiscard /dev/vda');
  });

  it('writes what ticks.ts says, discards and zeroes among it', async () => {
    await linux.shell.run('for n in $(seq 41); do tick vda $n; done', 120_000);
    await linux.domain.shutdown();
    expect(ticksOf(await readImage(linux.domain.disks[0]!.image))).toBe(41);
  }, 150_000);
}, ['busybox', 'cpio']);

describe('the check that disks are of one instant', () => {
  const patched = (count: number, from: number, block: number) => {
    const disk = contentAfter(count);
    contentAfter(from).copy(disk, block * 65_536, block * 65_536, (block + 1) * 65_536);
    return disk;
  };

  it('knows every step', () => {
    for (const count of [0, 1, 2, 41, 300]) expect(ticksOf(contentAfter(count))).toBe(count);
    expect(sharedTick(contentAfter(301), contentAfter(300))).toBe(300);
  });

  it('finds a block that is older than the others, or zero that was not zeroed', () => {
    const block = (number: number) => (number * 7_919) % 256;
    expect(() => ticksOf(patched(300, 290, block(298)))).toThrow('not of one instant: newest step 300');
    // Step 299 zeroes what step 43 wrote.
    expect(() => ticksOf(patched(300, 298, block(299)))).toThrow('not of one instant');
  });

  it('finds disks that are of one instant each, and not the same', () => {
    expect(() => sharedTick(contentAfter(310), contentAfter(300))).toThrow('not of the same instant');
    expect(() => sharedTick(contentAfter(300), contentAfter(303))).toThrow('not of the same instant');
  });
});
