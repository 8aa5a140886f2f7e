/** Backups of a real guest that writes, discards and zeroes in the meantime: each point is of one instant. */
import { createHash } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { GuestBackupOptions, Manifest } from '#nbdelta/index.js';
import { describeStack } from '../support/libvirt/describe-stack.js';
import { sharedTick, TICKS_SIZE } from '../support/libvirt/ticks.js';
import { outputMatches, type RunningProcess, startProcess, waitFor } from '../support/processes.js';
import { readImage } from '../support/qcow2-image.js';
import { expectSameBytes } from '../support/restore-check.js';
import { LinuxGuest } from './linux-guest.js';

const SLOW = new URL('../support/slow-backup.mjs', import.meta.url).pathname;
const TICK_MS = 60_000;
const DISKS = ['vda', 'vdb'];

describeStack('a guest that writes', () => {
  let guest: LinuxGuest;
  const run = (line: string, timeoutMs?: number) => guest.linux.shell.run(line, timeoutMs);
  const ticks = async () => Number(await run('cat /run/ticks'));

  beforeAll(async () => {
    // No agent: when its channel closes during a job, libvirt 9.0 does not notice QEMU's end for 30 s.
    guest = await LinuxGuest.start({ disks: { vda: TICKS_SIZE, vdb: TICKS_SIZE } });
  }, 300_000);
  afterAll(() => guest?.[Symbol.asyncDispose](), 60_000);

  async function startWriter(): Promise<void> {
    await run('rm -f /run/stop; echo 0 >/run/ticks; writer vda vdb >/dev/null 2>&1 & echo $! >/run/writer');
    await waitForTicks(10);
  }

  async function waitForTicks(more: number): Promise<void> {
    const before = await ticks();
    await waitFor(async () => (await ticks()) >= before + more, `${more} steps of the writer`, TICK_MS);
  }

  const stopWriter = () => run('touch /run/stop; wait $(cat /run/writer)');

  /** Of a disk as the guest reads it, past its page cache. */
  async function digestInGuest(disk: string): Promise<string> {
    return (await run(`dd if=/dev/${disk} bs=65536 iflag=direct 2>/dev/null | md5sum`)).slice(0, 32);
  }

  async function expectAsTheGuestReads(point: Manifest): Promise<void> {
    for (const disk of DISKS) {
      const digest = createHash('md5')
        .update(await guest.restored(point, disk))
        .digest('hex');
      expect(digest, `${disk} of ${point.id}`).toBe(await digestInGuest(disk));
    }
  }

  const instantOf = async (point: Manifest) =>
    sharedTick(await guest.restored(point, 'vda'), await guest.restored(point, 'vdb'));

  /** A full backup that is in mid-read: see slow-backup.mjs. */
  function startSlowBackup(how: 'stop' | 'crawl'): Promise<RunningProcess> {
    const { libvirtd, repository } = guest;
    const [stateDir, scratch, socketDir] = ['state', 'scratch', 'nbd'].map(name =>
      libvirtd.folder.file(name),
    );
    const options: GuestBackupOptions = {
      ...{ source: 'libvirt:linux', connect: libvirtd.uri, repository, level: 'full' },
      ...{ stateDir, scratch, scratchReserve: 1 << 20, socketDir },
    };
    const args = [SLOW, JSON.stringify(options), how];
    return startProcess(process.execPath, args, { ready: outputMatches(/half\n/) });
  }

  async function resultOf(backup: RunningProcess): Promise<string> {
    await backup.ended;
    return backup.stdout.replace('half\n', '').trim();
  }

  it('gets a full and incrementals, all disks of one instant each, and the last one of the end', async () => {
    await startWriter();
    const points: Manifest[] = [];
    for (let count = 0; count < 4; count++) {
      points.push(await guest.backUp());
      await waitForTicks(5);
    }
    await stopWriter();
    points.push(await guest.backUp());
    expect(points.map(({ level }) => level)).toEqual(['full', ...Array(4).fill('incremental')]);
    const instants: number[] = [];
    for (const point of points) instants.push(await instantOf(point));
    expect(instants).toEqual(instants.toSorted((a, b) => a - b));
    expect(new Set(instants).size).toBe(5);
    await expectAsTheGuestReads(points.at(-1)!);
  }, 180_000);

  it('is backed up as it was when the job began, whatever it writes until the end', async () => {
    await run('blkdiscard /dev/vda; blkdiscard /dev/vdb');
    await startWriter();
    await using backup = await startSlowBackup('stop');
    const whileReading = await ticks();
    await waitForTicks(40);
    process.kill(backup.pid, 'SIGCONT');
    const point = JSON.parse(await resultOf(backup)) as Manifest;
    await stopWriter();
    expect(await instantOf(point)).toBeLessThanOrEqual(whileReading + 1);
    // What it wrote in the meantime is in the next one.
    const next = await guest.backUp();
    expect(next.level).toBe('incremental');
    expect(await instantOf(next)).toBeGreaterThanOrEqual(whileReading + 40);
    await expectAsTheGuestReads(next);
  }, 180_000);

  it('trims and zeroes a file system, and the point has the zeroes', async () => {
    const mounted = (line: string) =>
      run(`mount -t ext2 /dev/vda /mnt && cd /mnt && ${line} && cd / && umount /mnt`);
    await run('blkdiscard /dev/vda && mke2fs -F /dev/vda >/dev/null');
    await mounted('for n in 1 2 3; do head -c 2000000 /dev/urandom >file$n; done');
    const before = await guest.backUp();
    await expectAsTheGuestReads(before);
    await mounted('rm file1 && fstrim /mnt && dd if=/dev/zero of=file2 bs=65536 count=20 conv=notrunc 2>&1');
    const after = await guest.backUp();
    await expectAsTheGuestReads(after);
    expect([before.level, after.level]).toEqual(['incremental', 'incremental']);
    const zeroes = async (point: Manifest) =>
      (await guest.restored(point, 'vda')).reduce((count, byte) => count + (byte === 0 ? 1 : 0), 0);
    expect((await zeroes(after)) - (await zeroes(before))).toBeGreaterThan(3_000_000);
  }, 180_000);

  it('is shut down in mid-read: nothing is committed, and the chain goes on while it is off', async () => {
    const before = await guest.backUp();
    await run('tick vda 1; tick vdb 1');
    await using backup = await startSlowBackup('crawl');
    await guest.linux.powerOff();
    expect(await resultOf(backup)).toMatch(/^(JOB_LOST|GUEST_STATE|NBD_[A-Z_]+)$/);
    const point = await guest.backUp();
    expect(point).toMatchObject({ level: 'incremental', parent: { id: before.id }, guest: { state: 'off' } });
    for (const { target, image } of guest.linux.domain.disks)
      expectSameBytes(await guest.restored(point, target), await readImage(image), target);
  }, 180_000);
}, ['busybox', 'cpio']);
