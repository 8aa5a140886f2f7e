/** QEMU's own pull-mode backups of a running guest that goes on writing while it is read. */

import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type BackupOptions, backup, type Manifest } from '#nbdelta/index.js';
import { DiskModel } from '../support/disk-model.js';
import { nbdcopy } from '../support/nbd-tools.js';
import { describeWith } from '../support/peers.js';
import { waitFor } from '../support/processes.js';
import type { PullBackup } from '../support/pull-backup.js';
import { createQcow2 } from '../support/qcow2-image.js';
import { type QemuSystem, startQemuSystem } from '../support/qemu-system.js';
import { SeededRandom } from '../support/random.js';
import {
  codeOf,
  expectSameBytes,
  fileDigests,
  restoreBytes,
  restoreIndependently,
} from '../support/restore-check.js';
import { type TempFolder, tempFolder } from '../support/temp-folder.js';

const MIB = 2 ** 20;
const DISKS = ['vda', 'vdb'] as const;
const SIZE = 8 * MIB;

describeWith(
  ['qemu-system-x86_64', 'qemu-img', 'stdbuf', 'python3', 'zstd', 'tar'],
  'pull-mode backups of a running guest',
  () => {
    let folder: TempFolder;
    let guest: QemuSystem;
    const models = {
      vda: new DiskModel({ size: SIZE, seed: 41 }),
      vdb: new DiskModel({ size: SIZE, seed: 42 }),
    };
    const random = new SeededRandom(45);
    const repository = () => folder.file('repo');

    beforeAll(async () => {
      folder = await tempFolder();
      for (const disk of DISKS) await createQcow2(folder.file(`${disk}.qcow2`), SIZE);
      guest = await startQemuSystem({
        disks: DISKS.map(name => ({ name, image: folder.file(`${name}.qcow2`) })),
      });
    });
    afterAll(async () => {
      await guest[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
    });

    /** Random writes and zeroes on sectors, by the guest. Discards only without a job: QEMU's backup filter ignores them. */
    async function work(count: number, { discards }: { readonly discards: boolean }): Promise<void> {
      for (let step = 0; step < count; step++) {
        const kind = random.below(256);
        const disk = DISKS[step % 2]!;
        const offset = 512 * random.below(SIZE / 512 - 1);
        const length = Math.min(SIZE - offset, 512 * (1 + random.below(1000)));
        const operation =
          kind % 4 === 0
            ? ({ kind: 'zero', offset, length, unmap: kind % 8 === 0 } as const)
            : kind % 4 === 1 && discards
              ? ({ kind: 'discard', offset, length } as const)
              : ({ kind: 'fill', offset, length, byte: kind } as const);
        models[disk].apply(operation);
        await guest.qemuIo(DiskModel.commandOf(operation, ''), disk);
      }
    }

    function backUp(job: PullBackup, options: Partial<BackupOptions> = {}) {
      const disks = job.exports.map(({ disk, uri, bitmap }) => ({ name: disk, uri, bitmap }));
      return backup({ repository: repository(), machine: 'guest', disks, ...options });
    }

    /** What libnbd reads of the running job's exports. */
    async function readExports(job: PullBackup) {
      const contents: Record<string, Buffer> = {};
      for (const { disk, uri } of job.exports) {
        const path = folder.file(`${disk}.copied`);
        await nbdcopy(uri, path);
        contents[disk] = await readFile(path);
      }
      return contents;
    }

    const frozen = () => ({ vda: Buffer.from(models.vda.content), vdb: Buffer.from(models.vdb.content) });

    async function expectPoint(point: Manifest, contents: ReturnType<typeof frozen>): Promise<void> {
      for (const disk of DISKS) {
        const spec = `guest@${point.id}`;
        expectSameBytes(await restoreBytes(repository(), spec, disk), contents[disk], `${spec} ${disk}`);
        expectSameBytes(
          await restoreIndependently(repository(), spec, disk),
          contents[disk],
          `${spec} ${disk}, script`,
        );
      }
    }

    it('has every point as the disks were at its time, whatever the guest wrote meanwhile', async () => {
      const kept: { point: Manifest; contents: ReturnType<typeof frozen> }[] = [];
      await work(16, { discards: true });
      for (let step = 0; step < 4; step++) {
        const since = step === 0 ? {} : { since: `cp${step - 1}` };
        await work(4, { discards: true });
        await using job = await guest.beginPullBackup({ checkpoint: `cp${step}`, ...since });
        const contents = frozen();
        // Before the first read, and while it reads.
        await work(6, { discards: false });
        const backingUp = backUp(job, {
          level: step === 0 ? 'full' : 'incremental',
          checkpoint: `cp${step}`,
          ...since,
          frameSize: 65_536,
        });
        const [{ point }] = await Promise.all([backingUp, work(10, { discards: false })]);
        const seen = await readExports(job);
        for (const disk of DISKS)
          expectSameBytes(seen[disk]!, contents[disk], `export ${disk} of point ${step}`);
        kept.push({ point, contents });
      }
      expect(kept.map(({ point }) => point.level)).toEqual([
        'full',
        'incremental',
        'incremental',
        'incremental',
      ]);
      for (const { point, contents } of kept) await expectPoint(point, contents);
    });

    it('commits nothing when the job is cancelled in mid-read, and the next incremental misses nothing', async () => {
      const before = await fileDigests(repository());
      await work(10, { discards: true });
      {
        await using job = await guest.beginPullBackup({ checkpoint: 'cut', since: 'cp3' });
        let ending: Promise<void> | undefined;
        const onProgress: BackupOptions['onProgress'] = ({ phase }) => {
          if (phase === 'data') ending ??= job.cancel();
        };
        const frameSize = 65_536;
        const failed = backUp(job, {
          since: 'cp3',
          onProgress,
          frameSize,
          retries: 0,
          connections: 1,
          level: 'full',
        });
        expect(await codeOf(failed)).toMatch(/^NBD_/);
        await waitFor(() => ending !== undefined, 'the end of the job');
        await ending;
      }
      expect(await fileDigests(repository())).toEqual(before);
      await work(4, { discards: true });
      await using job = await guest.beginPullBackup({ checkpoint: 'cp4', since: 'cp3' });
      const contents = frozen();
      const { point } = await backUp(job, { level: 'incremental', since: 'cp3', checkpoint: 'cp4' });
      await expectPoint(point, contents);
    });

    it('takes no point of a job that ended before the commit', async () => {
      await work(4, { discards: true });
      const before = await fileDigests(repository());
      await using job = await guest.beginPullBackup({ checkpoint: 'gone', since: 'cp4' });
      const confirm = async () => {
        await job.end();
        throw new Error('the job is gone');
      };
      await expect(backUp(job, { since: 'cp4', confirm })).rejects.toThrow('the job is gone');
      expect(await fileDigests(repository())).toEqual(before);
    });
  },
);
