/** Points as something that needs no nbdelta any more, and copies of them in another repository. */
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { copy, exportPoint, listPoints, merge, verify } from '#nbdelta/index.js';
import { describeWith } from '../support/peers.js';
import { run, runOk } from '../support/processes.js';
import { codeOf, expectSameBytes, fileDigests, restoreBytes } from '../support/restore-check.js';
import { type TempFolder, tempFolder } from '../support/temp-folder.js';
import { backUpGuests, TrackedGuest } from '../support/tracked-guest.js';

const MIB = 2 ** 20;

describeWith(['qemu-img', 'qemu-nbd', 'zstd', 'python3'], 'points that leave the repository', () => {
  let folder: TempFolder;
  let guest: TrackedGuest;
  const points: { readonly id: string; readonly content: Buffer }[] = [];

  const repository = () => folder.file('repo');
  const take = async () => {
    const guests = { vda: guest, vdb: new TrackedGuest(1000) };
    const { point } = await backUpGuests(folder, guests, { frameSize: 65_536, threads: 1 });
    points.push({ id: point.id, content: Buffer.from(guest.content) });
    return point;
  };

  beforeAll(async () => {
    folder = await tempFolder();
    guest = new TrackedGuest(3 * MIB);
    guest.write(0, randomBytes(2 * MIB));
    await take();
    guest.zero(300_000, 400_000);
    guest.write(10, randomBytes(70_000));
    await take();
    guest.resize(4 * MIB + 512);
    guest.write(4 * MIB, randomBytes(512));
    await take();
    guest.write(350_000, Buffer.from('over what was zeroed'));
    await take();
  });
  afterAll(() => folder[Symbol.asyncDispose]());

  it('a chain of qcow2 images: each reads as its point, by QEMU alone', async () => {
    const to = folder.file('chain');
    const { images } = await exportPoint({
      repository: repository(),
      point: 'guest',
      to,
      format: 'qcow2-chain',
      disk: 'vda',
    });
    expect(images.map(image => image.point)).toEqual(points.map(({ id }) => id));
    expect((await readdir(to)).sort()).toEqual(images.map(image => image.name));
    for (const [index, { name }] of images.entries()) {
      const [raw, model] = [folder.file('x.raw'), folder.file('model.raw')];
      await runOk('qemu-img', ['convert', '-O', 'raw', `${to}/${name}`, raw]);
      await writeFile(model, points[index]!.content);
      // QEMU's disks are whole sectors.
      expectSameBytes(
        (await readFile(raw)).subarray(0, points[index]!.content.length),
        points[index]!.content,
        name,
      );
      await runOk('qemu-img', ['check', `${to}/${name}`]);
    }
    const info = JSON.parse(await runOk('qemu-img', ['info', '--output=json', `${to}/${images[3]!.name}`]));
    expect(info).toMatchObject({ 'backing-filename': images[2]!.name, 'backing-filename-format': 'qcow2' });
  });

  it('raw disks of an older point', async () => {
    const to = folder.file('raw');
    await mkdir(to);
    await exportPoint({ repository: repository(), point: `guest@${points[1]!.id}`, to, format: 'raw' });
    expect((await readdir(to)).sort()).toEqual(['vda.raw', 'vdb.raw']);
    expectSameBytes(await readFile(`${to}/vda.raw`), points[1]!.content, 'raw');
  });

  it('a tar that is restored with tar, zstd and python alone', async () => {
    const to = folder.file('tar');
    const { files } = await exportPoint({
      repository: repository(),
      point: `guest@${points[2]!.id}`,
      to,
      format: 'tar',
    });
    const unpacked = folder.file('unpacked');
    await mkdir(unpacked);
    await runOk('tar', ['xf', `${to}/${files[0]}`, '-C', unpacked]);
    const command = /python3 (restore-v1.py repository guest \S+ vda) /.exec(
      await readFile(`${unpacked}/README.txt`, 'utf8'),
    )!;
    const args = command[1]!
      .split(' ')
      .map(arg => (arg.includes('.py') || arg === 'repository' ? `${unpacked}/${arg}` : arg));
    await runOk('python3', [...args, folder.file('from-tar.raw')]);
    expectSameBytes(await readFile(folder.file('from-tar.raw')), points[2]!.content, 'from the tar');
    expectSameBytes(await restoreBytes(`${unpacked}/repository`, 'guest'), points[2]!.content, 'by nbdelta');
  });

  it('an export that fails or has no place leaves nothing', async () => {
    const before = await readdir(folder.path);
    const to = folder.file('stopped');
    const stop = new AbortController();
    const options = { repository: repository(), point: 'guest', to, format: 'qcow2-chain' } as const;
    const stopped = exportPoint({ ...options, signal: stop.signal, onProgress: () => stop.abort() });
    expect(await codeOf(stopped)).toBe('ABORTED');
    expect(await codeOf(exportPoint({ ...options, disk: 'vdz' }))).toBe('DISK_UNKNOWN');
    expect(await codeOf(exportPoint({ ...options, to: repository() }))).toBe('TARGET_EXISTS');
    expect(await codeOf(exportPoint({ ...options, to: folder.file('no', 'such') }))).toBe('TARGET_INVALID');
    expect(await readdir(folder.path)).toEqual(before);
  });

  it('a copy is the same bytes, goes on after an interruption, and can be built on', async () => {
    const to = folder.file('second');
    await copy({ repository: repository(), point: `guest@${points[1]!.id}`, to });
    expect((await listPoints({ repository: to }))[0]!.points.map(point => point.id)).toEqual(
      points.slice(0, 2).map(({ id }) => id),
    );
    const stop = new AbortController();
    const stopping = copy({
      repository: repository(),
      point: 'guest',
      to,
      signal: stop.signal,
      onProgress: () => stop.abort(),
    });
    expect(await codeOf(stopping)).toBe('ABORTED');
    const partial = `${to}/guest/${points[2]!.id}/vda.0001.tar`;
    await truncate(partial, 1000).catch(() => undefined);
    const done = await copy({ repository: repository(), point: 'guest', to });
    expect(done).toMatchObject({
      copied: points.slice(2).map(({ id }) => id),
      present: points.slice(0, 2).map(({ id }) => id),
    });
    expect(await verify({ repository: to })).toMatchObject({ ok: true });
    for (const { id } of points) {
      const [a, b] = [
        await fileDigests(`${repository()}/guest/${id}`),
        await fileDigests(`${to}/guest/${id}`),
      ];
      expect({ ...b, 'verified.json': null }).toEqual({ ...a, 'verified.json': null });
    }
    expectSameBytes(await restoreBytes(to, 'guest'), points[3]!.content, 'the copy');
    expect(await copy({ repository: repository(), point: 'guest', to })).toMatchObject({ copied: [] });
  });

  it('a copy of a merged point replaces what it was merged from; a history of its own is refused', async () => {
    await using own = await tempFolder();
    await runOk('cp', ['-r', repository(), own.file('repo')]);
    const to = own.file('second');
    await copy({ repository: own.file('repo'), point: 'guest', to });
    const { point } = await merge({
      repository: own.file('repo'),
      machine: 'guest',
      from: points[1]!.id,
      to: points[2]!.id,
    });
    await copy({ repository: own.file('repo'), point: 'guest', to });
    const ids = (await listPoints({ repository: to }))[0]!.points.map(each => each.id);
    expect(ids).toEqual([points[0]!.id, point.id, points[3]!.id]);
    expectSameBytes(await restoreBytes(to, 'guest'), points[3]!.content, 'after the merge');
    const elsewhere = new TrackedGuest(4 * MIB + 512);
    await backUpGuests(
      { ...own, file: (...names) => own.file(...names.map(name => (name === 'repo' ? 'second' : name))) },
      { vda: elsewhere, vdb: new TrackedGuest(1000) },
      { level: 'full' },
    );
    guest.write(0, Buffer.from('one more'));
    const next = await take();
    await rm(own.file('repo'), { recursive: true });
    expect(await codeOf(copy({ repository: repository(), point: `guest@${next.id}`, to }))).toBe(
      'CHAIN_FOREIGN',
    );
    expect((await run('ls', [`${to}/guest/${next.id}`])).code).not.toBe(0);
  });
});
