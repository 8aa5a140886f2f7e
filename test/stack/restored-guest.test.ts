/** What a backup is for: a restored guest that boots, with the files of its point in a file system without errors. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Manifest } from '#nbdelta/index.js';
import { nbdeltaOk } from '../e2e/nbdelta-command.js';
import { describeStack } from '../support/libvirt/describe-stack.js';
import type { GuestShell } from '../support/libvirt/guest-shell.js';
import { openShell } from '../support/libvirt/linux-domain.js';
import { run as runProgram } from '../support/processes.js';
import { formatExt4 } from './format-ext4.js';
import { LinuxGuest } from './linux-guest.js';

const SIZE = 48 * 2 ** 20;

describeStack('a restored guest', () => {
  let guest: LinuxGuest;
  const points: Record<string, Manifest> = {};
  /** `md5sum` of all files, as the guest had them when a point was taken. */
  const files: Record<string, string> = {};
  const run = (line: string) => guest.linux.shell.run(line, 120_000);
  const LIST = 'cd /mnt && find . -type f ! -name log | sort | xargs md5sum; cd /';

  beforeAll(async () => {
    guest = await LinuxGuest.start({
      disks: { vda: SIZE, vdb: 2 ** 20 },
      agent: true,
      prepare: image => formatExt4(image('vda'), SIZE),
    });
    await run('mount -t ext4 /dev/vda /mnt; mkdir /mnt/etc /mnt/var');
    await run(
      'for n in $(seq 20); do head -c $((n * 9000)) /dev/urandom >/mnt/var/file$n; done; echo one >/mnt/etc/name',
    );
    await take('first', '--quiesce');
    await run(
      'rm /mnt/var/file1? && fstrim /mnt; dd if=/dev/zero of=/mnt/var/file9 bs=4096 count=10 conv=notrunc 2>&1',
    );
    await run(
      'echo two >/mnt/etc/name; mv /mnt/var/file2 /mnt/etc; head -c 700000 /dev/urandom >/mnt/var/new; sync',
    );
    // Somebody is always writing something.
    await run('(while [ ! -e /run/stop ]; do date >>/mnt/log; usleep 20000; done) >/dev/null 2>&1 &');
    await take('second');
    await run('touch /run/stop; rm -r /mnt/var /mnt/etc; sync');
    await take('third', '--quiesce');
  }, 300_000);
  afterAll(() => guest?.[Symbol.asyncDispose](), 60_000);

  async function take(name: string, ...options: readonly string[]): Promise<void> {
    files[name] = await run(LIST);
    points[name] = await guest.backUp(...options);
  }

  async function restoreRaw(name: string): Promise<string> {
    const to = guest.libvirtd.folder.file(`${name}.raw`);
    const point = `linux@${points[name]!.id}`;
    await nbdeltaOk(['restore', point, '--repo', guest.repository, '--disk', 'vda', '--to', to]);
    return to;
  }

  const fsck = (image: string, how: string) => runProgram('e2fsck', ['-f', how, image]);

  /** Restores the guest beside the original, boots it and looks into it. */
  async function boot(name: string, look: (shell: GuestShell) => Promise<void>): Promise<void> {
    const { libvirtd, repository } = guest;
    const define = ['--define', name, '--connect', libvirtd.uri];
    const to = libvirtd.folder.file(`restored-${name}`);
    await nbdeltaOk(['restore', `linux@${points[name]!.id}`, '--repo', repository, '--to', to, ...define]);
    await libvirtd.virsh('start', name);
    using shell = await openShell(libvirtd, name);
    await look(shell);
    await libvirtd.virsh('destroy', name);
  }

  it('has a chain of a full and two incrementals', () => {
    const levels = Object.values(points).map(({ level }) => level);
    expect(levels).toEqual(['full', 'incremental', 'incremental']);
    expect(files['first']).not.toBe(files['second']);
  });

  it.each(['first', 'third'])(
    'has no error in the file system that was frozen: the %s point',
    async name => {
      expect(await fsck(await restoreRaw(name), '-n')).toMatchObject({ code: 0 });
    },
    60_000,
  );

  it('has nothing worse than a journal to replay where it was not frozen', async () => {
    const image = await restoreRaw('second');
    // 0 or 1: the journal was replayed; 4: there are errors that need a decision.
    expect((await fsck(image, '-p')).code).toBeLessThanOrEqual(1);
    expect(await fsck(image, '-n')).toMatchObject({ code: 0 });
  }, 60_000);

  it.each(['first', 'second'])(
    'boots, with the files of its point: the %s',
    async name => {
      await boot(name, async shell => {
        await shell.run('mount -t ext4 /dev/vda /mnt');
        expect(await shell.run(LIST, 120_000)).toBe(files[name]);
        // It can live: a new file is there after a mount.
        await shell.run(
          'echo alive >/mnt/alive && umount /mnt && mount -t ext4 /dev/vda /mnt && grep alive /mnt/alive',
        );
        await shell.run('umount /mnt');
      });
    },
    150_000,
  );

  it('leaves the original alone', async () => {
    expect(await run('ls /mnt')).not.toContain('alive');
    expect(await guest.libvirtd.virsh('list', '--name')).toContain('linux');
  });
}, ['busybox', 'cpio', 'e2fsck']);
