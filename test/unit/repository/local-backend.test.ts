import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, open, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { LocalBackend } from '#nbdelta/repository/local-backend.js';
import { appendFully, dropFront, LocalVolumeSink } from '#nbdelta/repository/local-volume.js';
import { takeAway } from '#nbdelta/repository/whole-file.js';
import { describeStorageBackend } from './storage-backend.suite.js';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'nbdelta-local-'));
});
afterEach(() => rm(root, { recursive: true }));

describeStorageBackend('a local folder', async () => new LocalBackend(root));

it('a FIFO, a folder or a link in place of a file is an error, not a wait', async () => {
  const backend = new LocalBackend(root);
  await promisify(execFile)('mkfifo', [join(root, 'fifo')]);
  await mkdir(join(root, 'folder'));
  await writeFile(join(root, 'file'), 'x');
  await symlink(join(root, 'file'), join(root, 'link'));
  for (const name of ['fifo', 'folder', 'link']) {
    await expect(backend.read(name, { maxBytes: 9 })).rejects.toMatchObject({ code: 'STORAGE_FAILED' });
    await expect(backend.openVolume(name)).rejects.toMatchObject({ code: 'STORAGE_FAILED' });
  }
});

it('says what to do about a missing folder', async () => {
  const failure = new LocalBackend(join(root, 'none', 'none')).makeFolder('');
  await expect(failure).rejects.toMatchObject({
    message: `cannot create folder ${join(root, 'none', 'none')}: ENOENT`,
    hint: 'Check that the path is right and its file system is mounted.',
    fields: { errno: 'ENOENT' },
  });
});

it('dropFront continues a short write at every byte', () => {
  const chunks = ['abc', 'd', 'ef'].map(text => Buffer.from(text));
  for (let written = 0; written <= 6; written++) {
    expect(Buffer.concat(dropFront(chunks, written)).toString()).toBe('abcdef'.slice(written));
  }
  expect(dropFront(chunks, 3)).toHaveLength(2);
});

/** A file that takes at most `step` bytes at a time, and fails after `limit` bytes. */
async function stubbornFile(path: string, step: number, limit = Number.POSITIVE_INFINITY) {
  const handle = await open(path, 'wx');
  let total = 0;
  const writev = async (buffers: readonly Uint8Array[]) => {
    if (total >= limit) throw Object.assign(new Error('no space'), { code: 'ENOSPC', errno: -28 });
    const part = Buffer.concat(buffers).subarray(0, step);
    total += part.length;
    await handle.write(part);
    return { bytesWritten: part.length, buffers };
  };
  Object.assign(handle, { writev });
  return handle;
}

it('a kernel that takes a few bytes at a time gets all of them, in order', async () => {
  const handle = await stubbornFile(join(root, 'v'), 3);
  await appendFully(
    handle,
    'v',
    ['hello', '', ' ', 'world'].map(text => Buffer.from(text)),
  );
  await handle.close();
  const seen = await new LocalBackend(root).read('v', { maxBytes: 100 });
  expect(Buffer.from(seen!).toString()).toBe('hello world');
});

it('a file system that takes nothing is an error, not an endless loop', async () => {
  const handle = await stubbornFile(join(root, 'v'), 0);
  await expect(appendFully(handle, 'v', [Buffer.from('x')])).rejects.toThrow('took no byte');
  await handle.close();
});

it('after a full disk a volume cannot be closed as if it were whole', async () => {
  const path = join(root, 'v');
  const sink = new LocalVolumeSink(path, root, await stubbornFile(path, 4, 4));
  const expected = { code: 'STORAGE_FAILED', message: `cannot write ${path}: ENOSPC`, fields: { path } };
  await expect(sink.append([Buffer.from('abcdefgh')])).rejects.toMatchObject(expected);
  await expect(sink.append([Buffer.from('i')])).rejects.toMatchObject(expected);
  await expect(sink.close()).rejects.toMatchObject(expected);
  await sink.abort();
  expect(await new LocalBackend(root).list('')).toEqual([]);
});

it('a file that was replaced since it was judged is put back, not removed', async () => {
  const backend = new LocalBackend(root);
  for (const fresh of ['fresh', 'stalE', '']) {
    await backend.replace('lock', Buffer.from(fresh));
    expect(await takeAway(join(root, 'lock'), Buffer.from('stale'))).toBe(false);
    expect(Buffer.from((await backend.read('lock', { maxBytes: 9 }))!).toString()).toBe(fresh);
    expect((await backend.list('')).map(entry => entry.name)).toEqual(['lock']);
  }
  await backend.replace('lock', Buffer.from('stale'));
  expect(await takeAway(join(root, 'lock'), Buffer.from('stale'))).toBe(true);
  expect(await takeAway(join(root, 'lock'), Buffer.from('stale'))).toBe(false);
  expect(await backend.list('')).toEqual([]);
});

it('never follows a link to a folder: what it leads to is neither listed, read, written nor removed', async () => {
  const [repo, outside] = [join(root, 'repo'), join(root, 'outside')];
  await mkdir(repo);
  await mkdir(outside);
  await writeFile(join(outside, 'precious'), 'x');
  await symlink(outside, join(repo, 'web1'));
  const backend = new LocalBackend(repo);
  expect(await backend.list('')).toEqual([{ name: 'web1', kind: 'link' }]);
  const attempts = [
    () => backend.list('web1'),
    () => backend.read('web1/precious', { maxBytes: 9 }),
    () => backend.openVolume('web1/precious'),
    () => backend.createVolume('web1/new'),
    () => backend.putExclusive('web1/new', Buffer.from('y')),
    () => backend.replace('web1/precious', Buffer.from('y')),
    () => backend.remove('web1/precious'),
    () => backend.removeIfUnchanged('web1/precious', Buffer.from('x')),
    () => backend.makeFolder('web1'),
    () => backend.makeFolder('web1/new'),
    () => backend.removeFolder('web1'),
  ];
  for (const attempt of attempts) await expect(attempt()).rejects.toMatchObject({ code: 'STORAGE_FAILED' });
  expect(await readdir(outside)).toEqual(['precious']);
});

it('the repository itself may be a link: that was said on purpose', async () => {
  await mkdir(join(root, 'real'));
  await symlink(join(root, 'real'), join(root, 'repo'));
  const backend = new LocalBackend(join(root, 'repo'));
  expect(await backend.makeFolder('')).toBe(false);
  expect(await backend.putExclusive('a', Buffer.from('x'))).toBe(true);
  expect(await backend.list('', { sizes: true })).toEqual([{ name: 'a', kind: 'file', bytes: 1 }]);
});
