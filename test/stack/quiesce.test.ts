/** `--quiesce` with the real guest agent: it freezes, it always thaws, and it may be silent. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { filesIn } from '../conformance/left-files.js';
import { nbdeltaFails, nbdeltaOk } from '../e2e/nbdelta-command.js';
import { describeStack } from '../support/libvirt/describe-stack.js';
import { runOk } from '../support/processes.js';
import { tempFolder } from '../support/temp-folder.js';
import { formatExt4 } from './format-ext4.js';
import { LinuxGuest } from './linux-guest.js';

const SIZE = 32 * 2 ** 20;
const AGENT_FAILED = 59;

describeStack('quiesce', () => {
  let guest: LinuxGuest;
  const run = (line: string) => guest.linux.shell.run(line);

  beforeAll(async () => {
    guest = await LinuxGuest.start({
      disks: { vda: SIZE, vdb: SIZE },
      agent: true,
      prepare: async image => {
        for (const target of ['vda', 'vdb']) await formatExt4(image(target), SIZE);
      },
    });
    await run('mkdir /mnt/a /mnt/b; mount -t ext4 /dev/vda /mnt/a; mount -t ext4 /dev/vdb /mnt/b');
    await run('echo before >/mnt/a/file; echo before >/mnt/b/file; sync');
  }, 300_000);
  afterAll(() => guest?.[Symbol.asyncDispose](), 60_000);

  /** The kernel takes writes again: with a frozen file system this would wait for ever. */
  const expectThawed = async () => {
    const agent = '{"execute":"guest-fsfreeze-status"}';
    expect(await guest.libvirtd.virsh('qemu-agent-command', 'linux', agent)).toContain('thawed');
    await run('for d in a b; do echo after >>/mnt/$d/file && sync; done');
  };

  /** Whether a disk of the newest point has a journal to be replayed: ext4 has none while it is frozen. */
  async function hasOpenJournal(disk: string): Promise<boolean> {
    await using folder = await tempFolder();
    const to = folder.file('disk.raw');
    await nbdeltaOk(['restore', 'linux', '--repo', guest.repository, '--disk', disk, '--to', to]);
    const header = await runOk('dumpe2fs', ['-h', to]);
    expect(header).toContain('has_journal');
    return header.includes('needs_recovery');
  }

  const journals = async () => [await hasOpenJournal('vda'), await hasOpenJournal('vdb')];

  async function expectNothingLeft(): Promise<void> {
    const file = (name: string) => guest.libvirtd.folder.file(name);
    expect([...(await filesIn(file('scratch'))), ...(await filesIn(file('nbd')))]).toEqual([]);
    expect((await guest.libvirtd.tryVirsh('backup-dumpxml', 'linux')).code).not.toBe(0);
  }

  it('without it a mounted file system is as after a power cut', async () => {
    await guest.backUp();
    expect(await journals()).toEqual([true, true]);
  }, 60_000);

  it('freezes all file systems, and thaws them at once', async () => {
    const point = await guest.backUp('--quiesce');
    await expectThawed();
    expect(point.level).toBe('incremental');
    expect(await journals()).toEqual([false, false]);
  }, 60_000);

  it('freezes only the one that is named', async () => {
    await guest.backUp('--quiesce', '--mountpoint', '/mnt/b');
    await expectThawed();
    expect(await journals()).toEqual([true, false]);
  }, 60_000);

  it('an agent that hangs fails in time, and freezes nothing when it wakes up', async () => {
    await run('kill -STOP $(cat /run/qemu-ga.pid)');
    const before = await guest.linux.domain.checkpoints();
    const started = Date.now();
    await nbdeltaFails(guest.command('--quiesce', '--quiesce-timeout', '2'), {
      ...{ exitCode: AGENT_FAILED, code: 'AGENT_FAILED' },
    });
    // Twice, and each thaws as well, although nobody is listening.
    expect(Date.now() - started).toBeLessThan(60_000);
    expect(await guest.linux.domain.checkpoints()).toEqual(before);
    await expectNothingLeft();
    await run('kill -CONT $(cat /run/qemu-ga.pid); echo written >/mnt/a/file; sync');
    await expectThawed();
    await guest.backUp('--quiesce');
    await expectThawed();
  }, 150_000);

  it('an agent that is not running fails at once, and a backup without it goes', async () => {
    await run(
      'kill $(cat /run/qemu-ga.pid); while kill -0 $(cat /run/qemu-ga.pid) 2>/dev/null; do usleep 50000; done',
    );
    await nbdeltaFails(guest.command('--quiesce', '--quiesce-timeout', '2'), {
      ...{ exitCode: AGENT_FAILED, code: 'AGENT_FAILED' },
    });
    await expectNothingLeft();
    expect((await guest.backUp()).level).toBe('incremental');
    await run('start_agent; echo written >/mnt/a/file; sync');
    await guest.backUp('--quiesce');
    await expectThawed();
  }, 150_000);
}, ['busybox', 'cpio', 'e2fsck']);
