/** Points served over NBD straight from their archives, read by everybody else's clients. */
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type BackupOptions, backup, type ServedPoint, serve } from '#nbdelta/index.js';
import { nbdcopy, nbdinfo, nbdinfoMap } from '../support/nbd-tools.js';
import { describeWith } from '../support/peers.js';
import { run, runOk } from '../support/processes.js';
import { codeOf, expectSameBytes, restoreBytes } from '../support/restore-check.js';
import { type TempFolder, tempFolder } from '../support/temp-folder.js';
import { backUpGuests, socketPath, TrackedGuest } from '../support/tracked-guest.js';

const MIB = 2 ** 20;
const SIZE = 12 * MIB + 512 * 3;

describeWith(['nbdcopy', 'nbdinfo', 'qemu-img'], 'served points', () => {
  let folder: TempFolder;
  const points: { readonly id: string; readonly vda: Buffer; readonly vdb: Buffer }[] = [];
  const errors: string[] = [];

  beforeAll(async () => {
    folder = await tempFolder();
    const guests = { vda: new TrackedGuest(SIZE), vdb: new TrackedGuest(777) };
    guests.vda.write(100_000, randomBytes(5 * MIB));
    guests.vdb.write(5, Buffer.from('second disk'));
    for (let step = 0; step < 3; step++) {
      const { point } = await backUpGuests(folder, guests);
      points.push({
        id: point.id,
        vda: Buffer.from(guests.vda.content),
        vdb: Buffer.from(guests.vdb.content),
      });
      guests.vda.write(step * 3 * MIB + 1, randomBytes(MIB));
      guests.vda.zero(step * MIB, 300_000);
    }
  });
  afterAll(async () => {
    await folder[Symbol.asyncDispose]();
    expect(errors).toEqual([]);
  });

  function start(id: string, disk?: string, since: readonly string[] = []): Promise<ServedPoint> {
    return serve({
      repository: folder.file('repo'),
      point: `guest@${id}`,
      disk,
      since,
      listen: { kind: 'unix', path: socketPath(folder) },
      cacheBytes: 4 * MIB,
      onError: error => void errors.push(error.message),
    });
  }

  it('are copied by nbdcopy, and described by nbdinfo', async () => {
    for (const { id, vda, vdb } of points) {
      await using served = await start(id);
      expect(served.disks.map(({ disk, size }) => [disk, size])).toEqual([
        ['vda', SIZE],
        ['vdb', 777],
      ]);
      for (const { disk, uri } of served.disks) {
        const to = folder.file(`${id}-${disk}`);
        await nbdcopy(uri, to);
        expectSameBytes(await readFile(to), { vda, vdb }[disk]!, `${id} ${disk}`);
        const { exports } = await nbdinfo(uri);
        expect(exports).toMatchObject([{ 'export-name': disk, is_read_only: true, can_multi_conn: true }]);
      }
    }
  });

  it('have a map without gaps, whose zeroes are zeroes', async () => {
    const { id, vda } = points[2]!;
    await using served = await start(id, 'vda');
    const map = await nbdinfoMap(served.disks[0]!.uri);
    let at = 0;
    for (const { offset, length, type } of map) {
      expect(offset).toBe(at);
      at += length;
      if (type === 3) expect(vda.subarray(offset, at).every(byte => byte === 0)).toBe(true);
    }
    expect(at).toBe(SIZE);
    expect(map.filter(({ type }) => type === 3).length).toBeGreaterThan(1);
  });

  it('are what QEMU converts and compares, several points at once', async () => {
    const servers = await Promise.all(points.map(({ id }) => start(id, 'vda')));
    try {
      await Promise.all(
        points.map(async ({ id, vda }, index) => {
          const { uri } = servers[index]!.disks[0]!;
          const [model, qcow2] = [folder.file(`${id}.raw`), folder.file(`${id}.qcow2`)];
          await writeFile(model, vda);
          await runOk('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', uri, qcow2]);
          await runOk('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', uri, model]);
          await runOk('qemu-img', ['compare', '-f', 'qcow2', '-F', 'raw', qcow2, model]);
        }),
      );
      const different = await run('qemu-img', [
        'compare',
        ...['-f', 'raw', '-F', 'raw', servers[0]!.disks[0]!.uri, folder.file(`${points[2]!.id}.raw`)],
      ]);
      expect(different.code).toBe(1);
    } finally {
      for (const server of servers) await server.close();
    }
  });

  it('serve many readers at once, and end while they read', async () => {
    const { id, vda } = points[2]!;
    const served = await start(id, 'vda');
    const { uri } = served.disks[0]!;
    const copies = [1, 2, 3].map(async number => {
      await nbdcopy(uri, folder.file(`many-${number}`));
      expectSameBytes(await readFile(folder.file(`many-${number}`)), vda, `reader ${number}`);
    });
    await Promise.all(copies);
    const endless = run('nbdcopy', [uri, 'null:']);
    await served.close();
    await served.close();
    await endless;
    expect((await run('nbdinfo', [uri])).code).not.toBe(0);
  });

  it('are read at random by fio, sixteen requests at a time', async context => {
    if (!(await hasFioEngine())) context.skip("fio has no nbd engine here (Debian's has one)");
    const { id } = points[2]!;
    await using served = await start(id, 'vda');
    const job = [
      '--name=job',
      '--ioengine=nbd',
      `--uri=${served.disks[0]!.uri}`,
      '--rw=randread',
      '--bs=64k',
    ];
    const size = ['--iodepth=16', `--size=${10 * MIB}`, '--output-format=json'];
    const report = JSON.parse((await runOk('fio', [...job, ...size])).replace(/^[^{]*/, ''));
    expect(report.jobs[0]).toMatchObject({ error: 0, read: { total_ios: 160 } });
  });

  it('serve damage as errors, never as bytes', async () => {
    await using own = await tempFolder();
    await runOk('cp', ['-r', folder.file('repo'), own.file('repo')]);
    const { id } = points[0]!;
    const volume = own.file('repo', 'guest', id, 'vda.0001.tar');
    const bytes = await readFile(volume);
    bytes[2 * MIB]! ^= 1;
    await writeFile(volume, bytes);
    const seen: string[] = [];
    await using served = await serve({
      repository: own.file('repo'),
      point: `guest@${id}`,
      disk: 'vda',
      listen: { kind: 'unix', path: socketPath(own) },
      onError: error => void seen.push(error.code),
    });
    const copied = await run('nbdcopy', [served.disks[0]!.uri, own.file('copy')]);
    expect(copied.code).not.toBe(0);
    expect(copied.stderr).toMatch(/error/i);
    expect(seen).toContain('DATA_DAMAGED');
  });

  it('tell what changed since an earlier point, so that a backup of a backup is incremental', async () => {
    await using own = await tempFolder();
    const [first, , last] = points as [(typeof points)[0], (typeof points)[0], (typeof points)[0]];
    const backUp = async (id: string, options: Partial<BackupOptions>, since: readonly string[] = []) => {
      await using served = await start(id, 'vda', since);
      const { uri, bitmaps } = served.disks[0]!;
      expect(bitmaps).toEqual(since);
      const disks = [{ name: 'vda', uri, ...(since[0] && { bitmap: since[0] }) }];
      return await backup({
        repository: own.file('repo'),
        machine: 'second',
        disks,
        checkpoint: id,
        ...options,
      });
    };
    await backUp(first.id, { level: 'full' });
    const { point } = await backUp(last.id, { level: 'incremental', since: first.id }, [first.id]);
    // Three writes of 1 MiB and three zeroed ranges lie between them, not 12 MiB.
    expect(point.statistics.readBytes).toBeLessThan(3 * MIB);
    expectSameBytes(await restoreBytes(own.file('repo'), 'second'), last.vda, 'the backup of the backup');
    await using served = await start(last.id, 'vda', [first.id]);
    const map = await nbdinfoMap(served.disks[0]!.uri, `qemu:dirty-bitmap:${first.id}`);
    const dirty = map.filter(({ type }) => type === 1);
    for (const { offset, length } of map.filter(({ type }) => type === 0)) {
      const range = [offset, offset + length] as const;
      expectSameBytes(last.vda.subarray(...range), first.vda.subarray(...range), 'said to be the same');
    }
    expect(dirty.length).toBeGreaterThan(0);
    expect(dirty.every(({ offset }) => offset % 4096 === 0)).toBe(true);
  });

  it('refuse what is not there', async () => {
    expect(await codeOf(start(points[0]!.id, 'vdz'))).toBe('DISK_UNKNOWN');
    expect(await codeOf(start('20200101T000000Z-00000000'))).toBe('POINT_UNKNOWN');
  });
});

async function hasFioEngine(): Promise<boolean> {
  const { code, stdout } = await run('fio', ['--enghelp']).catch(() => ({ code: 1, stdout: '' }));
  return code === 0 && /^\s*nbd$/m.test(stdout);
}
