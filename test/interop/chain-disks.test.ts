/** Several disks in one point: all or none, or the ones that could be read. */
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type BackupOptions, backup, type Manifest } from '#nbdelta/index.js';
import { startNbdkit } from '../support/nbdkit.js';
import { describeWith } from '../support/peers.js';
import { codeOf, expectSameBytes, fileDigests, restoreBytes } from '../support/restore-check.js';
import { type TempFolder, tempFolder } from '../support/temp-folder.js';
import { BITMAP, backUpGuests, served, TrackedGuest } from '../support/tracked-guest.js';

const MIB = 2 ** 20;

let folder: TempFolder;
let guests: { readonly vda: TrackedGuest; readonly vdb: TrackedGuest };
beforeEach(async () => {
  folder = await tempFolder();
  guests = { vda: new TrackedGuest(3 * MIB + 11), vdb: new TrackedGuest(2 * MIB + 5) };
  guests.vda.write(100, randomBytes(MIB));
  guests.vdb.write(MIB, randomBytes(MIB));
});
afterEach(() => folder[Symbol.asyncDispose]());

const repository = () => folder.file('repo');

function summary({ disks }: Manifest) {
  return disks.map(disk => [disk.name, disk.status, disk.level, disk.reason?.code ?? null]);
}

async function expectRestores(
  point: Manifest,
  names: readonly ('vda' | 'vdb')[] = ['vda', 'vdb'],
): Promise<void> {
  for (const name of names) {
    expectSameBytes(await restoreBytes(repository(), `guest@${point.id}`, name), guests[name].content, name);
  }
}

describeWith(['nbdkit'], 'a disk that cannot be read', () => {
  /** vda is served by us; vdb by an nbdkit whose every read fails. */
  async function withBrokenDisk(options: Partial<BackupOptions> = {}) {
    const image = folder.file('vdb.raw');
    await writeFile(image, guests.vdb.content);
    await using broken = await startNbdkit({
      plugin: ['file', image, 'error-pread=EIO', 'error-pread-rate=100%'],
      exportName: 'vdb',
      filters: ['error'],
    });
    return await served(folder, { vda: guests.vda.snapshot() }, uriOf =>
      backup({
        repository: repository(),
        machine: 'guest',
        disks: [
          { name: 'vda', uri: uriOf('vda'), bitmap: BITMAP },
          { name: 'vdb', uri: broken.uri },
        ],
        ...options,
      }),
    );
  }

  it('fails the backup: there is no point at all, and the repository is as it was', async () => {
    await backUpGuests(folder, guests);
    const before = await fileDigests(repository());
    expect(await codeOf(withBrokenDisk())).toBe('NBD_COMMAND_FAILED');
    expect(await fileDigests(repository())).toEqual(before);
  });

  it('with allowPartial is missing in the point, and gets a full next time: there is nothing to compare with', async () => {
    await backUpGuests(folder, guests);
    guests.vda.write(5, randomBytes(9999));
    const { point } = await withBrokenDisk({ allowPartial: true });
    guests.vda.committed();
    expect(point).toMatchObject({ level: 'incremental', partial: true, warnings: [{ code: 'disk-failed' }] });
    expect(summary(point)).toEqual([
      ['vda', 'stored', 'incremental', null],
      ['vdb', 'failed', 'incremental', 'bitmap-missing'],
    ]);
    await expectRestores(point, ['vda']);
    expect(await codeOf(restoreBytes(repository(), `guest@${point.id}`, 'vdb'))).toBe('DISK_UNKNOWN');
    guests.vda.write(50, randomBytes(9999));
    guests.vdb.write(50, randomBytes(9999));
    const next = await backUpGuests(folder, guests);
    expect(next.point).toMatchObject({ level: 'incremental', partial: false, warnings: [] });
    expect(summary(next.point)).toEqual([
      ['vda', 'stored', 'incremental', null],
      ['vdb', 'stored', 'full', 'disk-failed-before'],
    ]);
    await expectRestores(next.point);
    guests.vdb.zero(0, MIB + 1);
    await expectRestores((await backUpGuests(folder, guests)).point);
  });

  it('is no point when it is the only disk, with the error of the disk', async () => {
    await using broken = await startNbdkit({
      plugin: ['memory', '1M', 'error-pread=EIO', 'error-pread-rate=100%'],
      filters: ['error', 'noextents'],
    });
    const disks = [{ name: 'vda', uri: broken.uri }];
    const failed = backup({ repository: repository(), machine: 'guest', disks, allowPartial: true });
    expect(await codeOf(failed)).toBe('NBD_COMMAND_FAILED');
  });
});

describe('disks that changed their shape', () => {
  it('one that grew keeps its chain, and has the grown part', async () => {
    await backUpGuests(folder, guests);
    guests.vda.resize(5 * MIB + 1);
    guests.vda.write(4 * MIB, randomBytes(MIB));
    const { point } = await backUpGuests(folder, guests);
    expect(summary(point)[0]).toEqual(['vda', 'stored', 'incremental', null]);
    await expectRestores(point);
  });

  it('one that grew has the grown part even when the bitmap does not say so', async () => {
    await backUpGuests(folder, guests);
    guests.vda.resize(5 * MIB + 1);
    guests.vda.write(4 * MIB, randomBytes(MIB));
    guests.vda.committed();
    await expectRestores((await backUpGuests(folder, guests)).point);
  });

  it('one that shrank is compared with the point before, and the other keeps its bitmap', async () => {
    await backUpGuests(folder, guests);
    guests.vdb.resize(MIB + 77);
    const { point } = await backUpGuests(folder, guests);
    expect(summary(point)).toEqual([
      ['vda', 'stored', 'incremental', null],
      ['vdb', 'stored', 'incremental', 'disk-shrunk'],
    ]);
    expect(point.disks.map(disk => disk.method)).toEqual(['bitmap', 'rescan']);
    await expectRestores(point);
    guests.vdb.resize(2 * MIB);
    await expectRestores((await backUpGuests(folder, guests)).point);
  });

  it('a new one gets a full of its own', async () => {
    await backUpGuests(folder, { vda: guests.vda });
    const { point } = await backUpGuests(folder, guests);
    expect(summary(point)[1]).toEqual(['vdb', 'stored', 'full', 'disk-new']);
    await expectRestores(point);
  });

  it('one that is left out once comes back with a full', async () => {
    await backUpGuests(folder, guests);
    guests.vdb.write(7, randomBytes(777));
    await backUpGuests(folder, { vda: guests.vda });
    const { point } = await backUpGuests(folder, guests);
    expect(summary(point)[1]).toEqual(['vdb', 'stored', 'full', 'disk-new']);
    await expectRestores(point);
  });
});
