import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { initRepository, openRepository } from '#nbdelta/repository/repository.js';

let root: string;
let path: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'nbdelta-repository-'));
  path = join(root, 'repo');
});
afterEach(() => rm(root, { recursive: true }));

const FILE = 'nbdelta-repository.json';

describe('initRepository', () => {
  it('makes a repository in a missing folder, and not twice', async () => {
    const made = await initRepository(path);
    expect(made.description).toMatchObject({ format: 'nbdelta-repository', version: 1, features: [] });
    expect((await openRepository(path)).description).toEqual(made.description);
    expect(await readdir(path)).toEqual([FILE]);
    await expect(initRepository(path)).rejects.toMatchObject({ code: 'REPOSITORY_INVALID' });
  });

  it('never scribbles into a strange folder', async () => {
    await mkdir(path);
    await writeFile(join(path, 'holiday.jpg'), 'x');
    await expect(initRepository(path)).rejects.toMatchObject({ code: 'REPOSITORY_INVALID' });
    await expect(openRepository(path)).rejects.toMatchObject({ code: 'REPOSITORY_INVALID' });
    await expect(openRepository(path, { create: true })).rejects.toMatchObject({
      code: 'REPOSITORY_INVALID',
    });
    expect(await readdir(path)).toEqual(['holiday.jpg']);
    const file = openRepository(join(path, 'holiday.jpg'), { create: true });
    await expect(file).rejects.toMatchObject({ code: 'REPOSITORY_INVALID' });
  });
});

describe('openRepository', () => {
  it('says how to make one', async () => {
    const missing = {
      code: 'REPOSITORY_MISSING',
      hint: expect.stringContaining(`nbdelta init --repo ${path}`),
    };
    await expect(openRepository(path)).rejects.toMatchObject(missing);
    await mkdir(path);
    await expect(openRepository(path)).rejects.toMatchObject(missing);
  });

  it('two first backups at the same time end up in one repository', async () => {
    const opened = await Promise.all([1, 2, 3, 4].map(() => openRepository(path, { create: true })));
    expect(new Set(opened.map(repository => repository.description.id)).size).toBe(1);
  });

  it.each([
    ['REPOSITORY_INVALID', ''],
    ['REPOSITORY_INVALID', '{'],
    ['REPOSITORY_INVALID', '\xff'],
    ['REPOSITORY_INVALID', 'null'],
    ['REPOSITORY_INVALID', '[]'],
    ['REPOSITORY_INVALID', '{"format":"nbdelta-point","version":1,"features":[]}'],
    ['REPOSITORY_INVALID', '{"format":"nbdelta-repository","version":"1","features":[]}'],
    ['REPOSITORY_INVALID', '{"format":"nbdelta-repository","version":1,"features":[]}'],
    ['REPOSITORY_INVALID', '{"__proto__":{"format":"nbdelta-repository"},"version":1}'],
    ['FORMAT_UNSUPPORTED', '{"format":"nbdelta-repository","version":2,"shape":"new"}'],
    ['FORMAT_UNSUPPORTED', '{"format":"nbdelta-repository","version":1,"features":["s3-shards"]}'],
  ])('%s for %j', async (code, text) => {
    await mkdir(path);
    await writeFile(join(path, FILE), text, 'latin1');
    await expect(openRepository(path, { create: true })).rejects.toMatchObject({ code });
    expect(await readFile(join(path, FILE), 'latin1')).toBe(text);
  });
});

describe('machines', () => {
  it('lists those with a record; names the others it has when one is unknown', async () => {
    const repository = await initRepository(path);
    await expect(repository.openMachine('web1')).rejects.toMatchObject({ code: 'MACHINE_UNKNOWN' });
    await expect(repository.machine('web1').lock('prune')).rejects.toMatchObject({ code: 'MACHINE_UNKNOWN' });
    for (const name of ['web1', 'db1']) {
      const lock = await repository.machine(name).lock('backup', { create: true });
      await repository.machine(name).identify(lock, { id: null, disks: [] });
      await lock.release();
    }
    await mkdir(join(path, 'lost+found'));
    await mkdir(join(path, 'empty'));
    expect(await repository.listMachines()).toEqual(['db1', 'web1']);
    const unknown = repository.resolve('mail@latest');
    await expect(unknown).rejects.toMatchObject({ code: 'MACHINE_UNKNOWN', hint: 'It has: db1, web1.' });
    await expect(repository.resolve('web1')).rejects.toMatchObject({ code: 'POINT_UNKNOWN' });
  });

  it.each(['', '.', '..', '.x', '-x', 'a/b', 'a b', 'ä', 'x'.repeat(129)])(
    'refuses the name %j',
    async name => {
      const repository = await initRepository(path);
      expect(() => repository.machine(name)).toThrow('not a machine name');
    },
  );
});
