import { execFile, spawn } from 'node:child_process';
import {
  chmod,
  cp,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { StorageError } from '#nbdelta/errors.js';
import type { MachineLock } from '#nbdelta/repository/lock.js';
import type { MachineStore } from '#nbdelta/repository/machine-store.js';
import type { ManifestInput, Point } from '#nbdelta/repository/manifest.js';
import type { PointWriter } from '#nbdelta/repository/point-writer.js';
import { initRepository, openRepository, type Repository } from '#nbdelta/repository/repository.js';
import { sampleDisk, sampleManifest } from './sample-manifest.js';

let root: string;
let repository: Repository;
let machine: MachineStore;
let lock: MachineLock;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'nbdelta-point-'));
  repository = await initRepository(join(root, 'repo'));
  machine = repository.machine('web1');
  lock = await machine.lock('backup', { create: true });
  await machine.identify(lock, { id: 'id-1', disks: [{ name: 'vda', source: null }] });
});
afterEach(async () => {
  await lock.release();
  await rm(root, { recursive: true });
});

async function writeVolume(writer: PointWriter, name = 'vda.0001.tar'): Promise<void> {
  const sink = await writer.createVolume(name);
  await sink.append([Buffer.from('a'), Buffer.from('bc')]);
  await sink.close();
}

function manifestFor(writer: PointWriter, change: Partial<ManifestInput> = {}): ManifestInput {
  return sampleManifest(1, { id: writer.id, ...change });
}

async function commitPoint(change: Partial<ManifestInput> = {}): Promise<Point> {
  const writer = await machine.beginPoint(lock);
  await writeVolume(writer);
  return await writer.commit(manifestFor(writer, change));
}

describe('commit', () => {
  it('makes a point that is listed, loaded, resolved, and checked by sha256sum', async () => {
    const point = await commitPoint();
    const { id } = point.manifest;
    expect((await machine.listPoints()).points).toEqual([point]);
    expect(await machine.loadManifest(id)).toEqual(point);
    expect((await repository.resolve('web1')).point).toEqual(point);
    expect((await machine.openChain([point], id, 'vda')).map(link => link.point.id)).toEqual([id]);
    const folder = join(root, 'repo', 'web1', id);
    expect((await readdir(folder)).sort()).toEqual(['manifest.json', 'manifest.sha256', 'vda.0001.tar']);
    await promisify(execFile)('sha256sum', ['-c', 'manifest.sha256'], { cwd: folder });
    expect(await readFile(join(folder, 'manifest.json'), 'utf8')).toMatch(/^\{\n {2}"format"[\s\S]*\}\n$/);
  });

  it('reads a volume back', async () => {
    const { id } = (await commitPoint()).manifest;
    const reader = await machine.openVolume(id, 'vda.0001.tar');
    const into = new Uint8Array(2);
    await reader.read(1, into);
    expect([reader.size, Buffer.from(into).toString()]).toEqual([3, 'bc']);
    await reader.close();
  });

  it('refuses a volume that is not as the manifest says', async () => {
    const writer = await machine.beginPoint(lock);
    await expect(writer.commit(manifestFor(writer))).rejects.toMatchObject({ code: 'CHAIN_TORN' });
    await writer.abort();
    expect(await machine.listIncomplete()).toEqual([]);
  });

  it('refuses open volumes, another id, another machine and a broken manifest, and can be aborted', async () => {
    const writer = await machine.beginPoint(lock);
    const sink = await writer.createVolume('vda.0001.tar');
    await expect(writer.commit(manifestFor(writer))).rejects.toThrow('1 volumes are not closed');
    await sink.append([Buffer.from('abc')]);
    await sink.close();
    await expect(writer.commit(sampleManifest(1))).rejects.toMatchObject({ code: 'INTERNAL' });
    const other = manifestFor(writer, { machine: { name: 'db1', id: null } });
    await expect(writer.commit(other)).rejects.toMatchObject({ code: 'INTERNAL' });
    await expect(writer.commit(manifestFor(writer, { sequence: 0 }))).rejects.toMatchObject({
      code: 'INTERNAL',
    });
    await writer.abort();
    await writer.abort();
    expect(await readdir(join(root, 'repo', 'web1'))).toEqual(['lock.json', 'machine.json']);
  });

  it('refuses when the lock was lost, and when somebody else committed; the winner stays', async () => {
    const writer = await machine.beginPoint(lock);
    await writeVolume(writer);
    const folder = join(root, 'repo', 'web1', writer.id);
    await writeFile(join(folder, 'manifest.json'), 'theirs');
    await expect(writer.commit(manifestFor(writer))).rejects.toMatchObject({ code: 'POINT_EXISTS' });
    await writer.abort();
    expect(await readFile(join(folder, 'manifest.json'), 'utf8')).toBe('theirs');

    const second = await machine.beginPoint(lock);
    await writeVolume(second);
    await rm(join(root, 'repo', 'web1', 'lock.json'));
    await expect(second.commit(manifestFor(second))).rejects.toMatchObject({ code: 'LOCK_LOST' });
    await second.abort();
    expect(await machine.listIncomplete()).toEqual([]);
  });

  it('happens once; abort afterwards does nothing', async () => {
    const writer = await machine.beginPoint(lock);
    await writeVolume(writer);
    await writer.commit(manifestFor(writer));
    await expect(writer.commit(manifestFor(writer))).rejects.toMatchObject({ code: 'USAGE' });
    await writer.abort();
    expect((await machine.listPoints()).points).toHaveLength(1);
  });
});

describe('what is wrong with a point', () => {
  it('lists a damaged manifest apart, and never takes an older point for latest silently', async () => {
    const first = await commitPoint();
    const now = new Date(Date.now() + 5000);
    const writer = await machine.beginPoint(lock, { now });
    await writeVolume(writer);
    await writer.commit(manifestFor(writer, { sequence: 2 }));
    const path = join(root, 'repo', 'web1', writer.id, 'manifest.json');
    await writeFile(path, (await readFile(path, 'utf8')).replace('"sequence": 2', '"sequence": 3'));
    const { points, unreadable } = await machine.listPoints();
    expect(points).toEqual([first]);
    expect(unreadable).toMatchObject([{ id: writer.id, error: { code: 'DATA_DAMAGED' } }]);
    await expect(repository.resolve('web1')).rejects.toMatchObject({ code: 'DATA_DAMAGED' });
    await expect(repository.resolve(`web1@${writer.id}`)).rejects.toMatchObject({ code: 'DATA_DAMAGED' });
    expect((await repository.resolve(`web1@${first.manifest.id}`)).point).toEqual(first);
  });

  it('says so when manifest.sha256 is missing, or the folder was renamed', async () => {
    const { id } = (await commitPoint()).manifest;
    const folder = join(root, 'repo', 'web1', id);
    const other = '20200101T000000Z-00000000';
    await cp(folder, join(root, 'repo', 'web1', other), { recursive: true });
    await expect(machine.loadManifest(other)).rejects.toMatchObject({ code: 'CHAIN_FOREIGN' });
    await rm(join(folder, 'manifest.sha256'));
    await expect(machine.loadManifest(id)).rejects.toMatchObject({ code: 'CHAIN_TORN' });
  });

  it('a point that is removed while the points are listed is simply not there', async () => {
    const point = await commitPoint();
    const gone = (await commitPoint({ sequence: 2 })).manifest.id;
    const { read } = repository.backend;
    repository.backend.read = async (path, options) => {
      if (path.endsWith(`${gone}/manifest.sha256`)) {
        repository.backend.read = read;
        await machine.removePoint(lock, gone);
      }
      return await read.call(repository.backend, path, options);
    };
    expect(await machine.listPoints()).toEqual({ points: [point], unreadable: [] });
  });

  it('a commit that fails after its link leaves no point behind an abort', async () => {
    const writer = await machine.beginPoint(lock);
    await writeVolume(writer);
    const { putExclusive } = repository.backend;
    repository.backend.putExclusive = async (path, bytes) => {
      await putExclusive.call(repository.backend, path, bytes);
      throw new StorageError('cannot fsync the folder: EIO');
    };
    await expect(writer.commit(manifestFor(writer))).rejects.toThrow('EIO');
    await writer.abort();
    expect(await machine.listPoints()).toEqual({ points: [], unreadable: [] });
    expect(await machine.listIncomplete()).toEqual([]);
  });

  it('removing a point begins with its manifest: a crash in between leaves no point without data', async () => {
    const { id } = (await commitPoint()).manifest;
    const removed: string[] = [];
    const { remove } = repository.backend;
    repository.backend.remove = async path => {
      removed.push(path.slice(`web1/${id}/`.length));
      await remove.call(repository.backend, path);
    };
    await machine.removePoint(lock, id);
    expect(removed).toEqual(['manifest.json', 'manifest.sha256', 'vda.0001.tar']);
  });

  it('CHAIN_TORN names file and sizes of a cut volume', async () => {
    const point = await commitPoint();
    const { id } = point.manifest;
    await truncate(join(root, 'repo', 'web1', id, 'vda.0001.tar'), 2);
    const message = `volume vda.0001.tar of point ${id} has 2 bytes, expected 3 bytes`;
    await expect(machine.openChain([point], id, 'vda')).rejects.toThrow(message);
  });

  it('a symbolic link in place of a volume is refused', async () => {
    const { id } = (await commitPoint()).manifest;
    const path = join(root, 'repo', 'web1', id, 'vda.0001.tar');
    await rm(path);
    await symlink('/etc/passwd', path);
    await expect(machine.openVolume(id, 'vda.0001.tar')).rejects.toMatchObject({ code: 'STORAGE_FAILED' });
  });
});

describe('incomplete points', () => {
  it('killed with -9 in the middle, a backup leaves a folder that is no point and can be removed', async () => {
    await lock.release();
    const script = fileURLToPath(new URL('./interrupted-backup.mjs', import.meta.url));
    const child = spawn(process.execPath, [script, join(root, 'repo'), 'web1'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const closed = new Promise(resolve => child.once('close', resolve));
    const id = await new Promise<string>(resolve =>
      child.stdout.once('data', data => resolve(String(data).trim())),
    );
    expect((await machine.listPoints()).points).toEqual([]);
    await expect(machine.lock('backup')).rejects.toMatchObject({
      code: 'LOCKED',
      fields: { pid: child.pid },
    });
    child.kill('SIGKILL');
    await closed;

    lock = await machine.lock('backup');
    expect(await machine.listIncomplete()).toEqual([id]);
    await expect(repository.resolve('web1')).rejects.toMatchObject({ code: 'POINT_UNKNOWN' });
    expect(await machine.removeIncomplete(lock)).toEqual({ removed: [id], kept: [] });
    expect(await readdir(join(root, 'repo', 'web1'))).toEqual(['lock.json', 'machine.json']);
  });

  it('keeps the folder of a point that a committed one builds on', async () => {
    const full = await commitPoint();
    const parent = { id: full.manifest.id, manifestSha256: full.sha256 };
    const writer = await machine.beginPoint(lock);
    await writeVolume(writer);
    const disks = [sampleDisk('vda', 'incremental')];
    await writer.commit(manifestFor(writer, { sequence: 2, level: 'incremental', parent, disks }));
    await rm(join(root, 'repo', 'web1', full.manifest.id, 'manifest.json'));
    const kept = [{ id: full.manifest.id, why: 'it may be a point that lost its manifest' }];
    expect(await machine.removeIncomplete(lock)).toEqual({ removed: [], kept });
    const torn = { id: full.manifest.id, error: { code: 'CHAIN_TORN' } };
    expect((await machine.listPoints()).unreadable).toMatchObject([torn]);
    await machine.removePoint(lock, writer.id);
    expect(await machine.removeIncomplete(lock)).toEqual({ removed: [], kept });
    expect((await machine.listPoints()).unreadable).toEqual([]);
  });

  it('a stray entry in a leftover is a reason to keep it, and no reason to fail', async () => {
    const leftovers = ['20200101T000000Z-00000001', '20200101T000000Z-00000002', '20200101T000000Z-00000003'];
    for (const id of leftovers) {
      await mkdir(join(root, 'repo', 'web1', id));
      await writeFile(join(root, 'repo', 'web1', id, 'vda.0001.tar'), 'x');
    }
    await mkdir(join(root, 'repo', 'web1', leftovers[0]!, '.snapshot'));
    await writeFile(join(root, 'repo', 'web1', leftovers[1]!, 'manifest (1).json'), '{}');
    const { removed, kept } = await machine.removeIncomplete(lock);
    expect(removed).toEqual([leftovers[2]]);
    expect(kept).toMatchObject([
      { id: leftovers[0], why: expect.stringContaining('".snapshot"') },
      { id: leftovers[1], why: expect.stringContaining('"manifest (1).json"') },
    ]);
    expect(await readdir(join(root, 'repo', 'web1', leftovers[0]!))).toEqual(['.snapshot', 'vda.0001.tar']);
  });

  it('a linked point folder is damage, and is not followed', async () => {
    const outside = join(root, 'outside');
    await mkdir(outside);
    await writeFile(join(outside, 'precious'), 'x');
    const id = '20200101T000000Z-deadbeef';
    await symlink(outside, join(root, 'repo', 'web1', id));
    expect(await machine.removeIncomplete(lock)).toEqual({ removed: [], kept: [] });
    const unreadable = [{ id, error: { code: 'CHAIN_FOREIGN' } }];
    expect((await machine.listPoints()).unreadable).toMatchObject(unreadable);
    await expect(machine.removePoint(lock, id)).rejects.toMatchObject({ code: 'STORAGE_FAILED' });
    expect(await readdir(outside)).toEqual(['precious']);
  });

  it('needs the lock', async () => {
    await lock.release();
    await expect(machine.removeIncomplete(lock)).rejects.toMatchObject({ code: 'LOCK_LOST' });
    await expect(machine.beginPoint(lock)).rejects.toMatchObject({ code: 'LOCK_LOST' });
  });
});

it.skipIf(process.getuid?.() === 0)(
  'an unwritable folder is an error that names path and errno',
  async () => {
    await chmod(join(root, 'repo'), 0o555);
    const reopened = await openRepository(join(root, 'repo'));
    const failure = reopened.machine('db1').lock('backup', { create: true });
    await expect(failure).rejects.toThrow(/cannot create folder .*db1: EACCES/);
    await chmod(join(root, 'repo'), 0o755);
  },
);
