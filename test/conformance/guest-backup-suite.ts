/** What every front-end must make of a backup that is cut off at any step, and of a job that somebody else ends. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type BackupStep,
  backupGuest,
  type GuestBackupOptions,
  type Manifest,
  recover,
} from '#nbdelta/index.js';
import { run as runProcess } from '../support/processes.js';
import { codeOf, expectSameBytes, fileDigests, restoreBytes } from '../support/restore-check.js';
import { type TempFolder, tempFolder } from '../support/temp-folder.js';
import type { GuestHarness } from './guest-harness.js';

const KILLED = new URL('../support/killed-backup.mjs', import.meta.url).pathname;
const STEPS = [
  'job-begun',
  'mapped',
  'half-data',
  'stored',
  'committed',
  'job-ended',
  'checkpoints-dropped',
] as const;

type Contents = Readonly<Record<string, Buffer>>;

/** Runs the suite on a front-end; `start` begins a guest with empty disks of at least 4 MiB. */
export function describeGuestBackups(name: string, start: () => Promise<GuestHarness>): void {
  describe(`backups of a guest: ${name}`, () => {
    let guest: GuestHarness;
    let folder: TempFolder;
    const models: Record<string, Buffer> = {};
    const kept: { readonly id: string; readonly contents: Contents }[] = [];
    let next = 1;

    const options = (): GuestBackupOptions => ({
      ...guest.options,
      source: guest.source,
      repository: folder.file('repo'),
      machine: 'guest',
      stateDir: folder.file('state'),
      frameSize: 65_536,
      threads: 1,
    });

    /** Some writes on every disk, each with a byte of its own. */
    async function work(count = 3): Promise<void> {
      for (const disk of guest.disks) {
        for (let step = 0; step < count; step++) {
          const byte = (next++ % 250) + 1;
          const offset = ((next * 7_919) % (guest.size / 65_536 - 2)) * 65_536 + 512 * (next % 3);
          const length = 65_536 + 512 * (next % 5);
          await guest.fill(disk, offset, length, byte);
          models[disk]!.fill(byte, offset, offset + length);
        }
      }
    }

    const frozen = (): Contents =>
      Object.fromEntries(guest.disks.map(disk => [disk, Buffer.from(models[disk]!)]));

    async function backUp(change: Partial<GuestBackupOptions> = {}): Promise<Manifest> {
      const contents = frozen();
      const { point, warnings } = await backupGuest({ ...options(), ...change });
      expect(warnings.filter(({ code }) => code !== 'scratch-may-fill')).toEqual([]);
      kept.push({ id: point.id, contents });
      return point;
    }

    async function expectAllPoints(): Promise<void> {
      for (const { id, contents } of kept) {
        for (const disk of guest.disks) {
          const seen = await restoreBytes(folder.file('repo'), `guest@${id}`, disk);
          expectSameBytes(seen, contents[disk]!, `point ${id}, ${disk}`);
        }
      }
    }

    /** Nothing is left but the checkpoints that the next incremental and the next differential need. */
    async function expectTidy(points: readonly Manifest[]): Promise<void> {
      // Bitmaps from before all disks were compared are worth nothing: no differential is taken since them.
      const whole = points.findLast(
        point => point.level === 'full' || point.disks.every(({ method }) => method === 'rescan'),
      );
      const full = whole?.level === 'full' ? whole.checkpoint : null;
      const needed = new Set([points.at(-1)?.checkpoint, full].filter(name => name != null));
      for (const [disk, names] of Object.entries(await guest.checkpoints())) {
        expect(new Set(names), `checkpoints on ${disk}`).toEqual(needed);
      }
      expect(await guest.leftovers()).toEqual([]);
    }

    async function runKilled(step: string): Promise<void> {
      const text = JSON.stringify(options());
      const result = await runProcess(process.execPath, [KILLED, text, step]);
      expect(`${result.code} ${result.stderr}`).toBe('null ');
    }

    const committed: Manifest[] = [];

    beforeAll(async () => {
      folder = await tempFolder();
      guest = await start();
      for (const disk of guest.disks) models[disk] = Buffer.alloc(guest.size);
    });
    afterAll(async () => {
      await guest?.[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
    });

    it('takes a full, and then what changed', async () => {
      await work();
      committed.push(await backUp());
      await expectTidy(committed);
      await work();
      const second = await backUp();
      committed.push(second);
      expect(committed.map(({ level }) => level)).toEqual(['full', 'incremental']);
      expect(second.disks.map(({ level }) => level)).toEqual(guest.disks.map(() => 'incremental'));
      expect(second.statistics.readBytes).toBeLessThan(guest.disks.length * 3 * 5 * 65_536);
      expect(second.since.point).toBe(committed[0]!.id);
      await expectTidy(committed);
    });

    it('tells its steps in order', async () => {
      const steps: BackupStep[] = [];
      await work(1);
      committed.push(await backUp({ onStep: step => steps.push(step) }));
      expect(steps).toEqual([
        'job-begun',
        'mapped',
        'stored',
        'committed',
        'job-ended',
        'checkpoints-dropped',
      ]);
    });

    it.each(STEPS)('killed at %s, the next one is right and nothing is left', async step => {
      await work(2);
      const atKill = frozen();
      await runKilled(step);
      const survived = step === 'committed' || step === 'job-ended' || step === 'checkpoints-dropped';
      await work(2);
      const point = await backUp();
      if (survived) {
        expect(point.parent?.id).not.toBe(committed.at(-1)!.id);
        kept.splice(-1, 0, { id: point.parent!.id, contents: atKill });
      } else expect(point.parent?.id).toBe(committed.at(-1)!.id);
      expect(point.disks.map(({ level }) => level)).toEqual(guest.disks.map(() => 'incremental'));
      committed.push(point);
      await expectTidy(committed);
    });

    it('killed, and recovered by hand', async () => {
      await work(1);
      await runKilled('mapped');
      const { source, stateDir, repository } = options();
      const result = await recover({ ...guest.options, source, stateDir, repository, machine: 'guest' });
      expect(result.actions.filter(({ what }) => what === 'left')).toEqual([]);
      expect(result.actions.length).toBeGreaterThan(0);
      await expectTidy(committed);
      const again = await recover({ ...guest.options, source, stateDir, repository, machine: 'guest' });
      expect(again.actions).toEqual([]);
    });

    it('killed, and both journals lost: the names tell', async () => {
      await work(1);
      await runKilled('half-data');
      const { rm } = await import('node:fs/promises');
      await rm(folder.file('state'), { recursive: true });
      await rm(folder.file('repo/guest/pending.json'));
      await work(1);
      committed.push(await backUp());
      await expectTidy(committed);
    });

    it('commits nothing of a job that somebody else ended in mid-read, and the next one misses nothing', async () => {
      await work(2);
      const before = await fileDigests(folder.file('repo'));
      let cancelled: Promise<void> | undefined;
      const failed = backupGuest({
        ...options(),
        retries: 0,
        connections: 1,
        level: 'full',
        onProgress: ({ phase }) => {
          if (phase === 'data') cancelled ??= guest.cancelJob();
        },
        // The disks are small: the job is gone before the last question, whoever is faster.
        confirm: async () => await cancelled,
      });
      expect(await codeOf(failed)).toMatch(/^(JOB_LOST|NBD_.*)$/);
      await cancelled;
      expect(await fileDigests(folder.file('repo'))).toEqual(before);
      await work(1);
      committed.push(await backUp());
      await expectTidy(committed);
    });

    it('commits nothing when the confirmation is refused, and removes its checkpoint', async () => {
      await work(1);
      const confirm = async () => {
        throw new Error('not the same job');
      };
      await expect(backupGuest({ ...options(), confirm })).rejects.toThrow('not the same job');
      await expectTidy(committed);
    });

    it('takes a copy without a checkpoint, and a differential since the full', async () => {
      await work(1);
      const copy = await backUp({ level: 'copy' });
      expect(copy.checkpoint).toBeNull();
      await expectTidy(committed);
      const differential = await backUp({ level: 'differential' });
      committed.push(differential);
      expect(differential.since.point).toBe(committed.find(({ level }) => level === 'full')!.id);
      await expectTidy(committed);
    });

    it('takes a full when one is asked for, and drops what nothing needs then', async () => {
      await work(1);
      committed.push(await backUp({ level: 'full' }));
      await expectTidy(committed);
    });

    it('refuses while somebody else is at it, and leaves him alone', async () => {
      await work(1);
      {
        await using _other = await guest.occupy();
        const before = await guest.leftovers();
        expect(await codeOf(backupGuest(options()))).toBe(guest.occupied);
        expect(await guest.leftovers()).toEqual(before);
      }
      committed.push(await backUp());
      await expectTidy(committed);
    });

    it('compares a disk that was resized with the point before, and reads the others by their bitmaps', async () => {
      await work(1);
      const [grown, ...others] = guest.disks as [string, ...string[]];
      const size = models[grown]!.length + 65_536 * 5;
      await guest.grow(grown, size);
      models[grown] = Buffer.concat([models[grown]!, Buffer.alloc(65_536 * 5)]);
      const point = await backUp();
      committed.push(point);
      expect(point.level).toBe('incremental');
      const reasons = point.disks.map(({ name, level, reason }) => [name, level, reason?.code]);
      expect(reasons).toEqual([
        [grown, 'incremental', 'disk-resized'],
        ...others.map(name => [name, 'incremental', undefined]),
      ]);
      expect(point.disks.find(({ name }) => name === grown)?.method).toBe('rescan');
      await expectTidy(committed);
    });

    it('compares everything, with the reason, after a crash broke the bitmaps, and goes on from there', async () => {
      await work(1);
      await guest.crash();
      await work(1);
      const point = await backUp();
      committed.push(point);
      expect(point).toMatchObject({
        level: 'incremental',
        reason: { code: 'rescan' },
        since: { kind: 'none' },
      });
      for (const { method, reason } of point.disks) {
        expect(method).toBe('rescan');
        expect(reason?.code).toMatch(/^(bitmap-inconsistent|bitmap-missing|checkpoint-missing)$/);
      }
      await work(1);
      const next = await backUp();
      committed.push(next);
      expect(next.disks.map(({ method }) => method)).toEqual(guest.disks.map(() => 'bitmap'));
      expect(next.since.point).toBe(point.id);
      await expectTidy(committed);
    });

    it('commits nothing when all crashes in mid-read, and the next one is right', async () => {
      await work(2);
      const before = await fileDigests(folder.file('repo'));
      let crashed: Promise<void> | undefined;
      const failed = backupGuest({
        ...options(),
        retries: 0,
        connections: 1,
        level: 'full',
        onProgress: ({ phase }) => {
          if (phase === 'data') crashed ??= guest.crash();
        },
        confirm: async () => await crashed,
      });
      expect(await codeOf(failed)).toMatch(/^(JOB_LOST|HYPERVISOR_UNREACHABLE|GUEST_STATE|NBD_.*)$/);
      await crashed;
      const after = await fileDigests(folder.file('repo'));
      expect(Object.keys(after).filter(path => path.endsWith('manifest.json'))).toEqual(
        Object.keys(before).filter(path => path.endsWith('manifest.json')),
      );
      await work(1);
      committed.push(await backUp());
      await expectTidy(committed);
    });

    it('restores every point as it was', async () => {
      await expectAllPoints();
    }, 60_000);
  });
}
