/** Where `restore` is asked to write to, as new users do. */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type TempFolder, tempFolder } from '../support/temp-folder.js';
import { nbdelta, nbdeltaFails, nbdeltaOk } from './nbdelta-command.js';
import { copyRepository, makeSampleRepository, SampleGuest, type SampleRepository } from './sample-guest.js';

let folder: TempFolder;
let sample: SampleRepository;

beforeAll(async () => {
  folder = await tempFolder();
  sample = await makeSampleRepository(folder);
});

afterAll(() => folder[Symbol.asyncDispose]());

const restore = (...args: readonly string[]) => ['restore', 'web1', '--repo', sample.path, ...args];

describe('a restore without --disk', () => {
  it.each(['web1.qcow2', 'web1.raw', 'web1.img', 'web1.vmdk'])('makes no folder %s', async name => {
    const before = await readdir(folder.path);
    const error = await nbdeltaFails(restore('--to', folder.file(name)), { exitCode: 2, code: 'USAGE' });
    expect(error.hint).toBe('--disk vda, or name a folder');
    expect(await readdir(folder.path)).toEqual(before);
  });

  it('goes into a folder that is there, whatever its name', async () => {
    await mkdir(folder.file('images.raw'));
    await nbdeltaOk(restore('--to', folder.file('images.raw')));
    expect((await readFile(folder.file('images.raw', 'vda.raw'))).equals(sample.after)).toBe(true);
  });

  it('refuses a file where the folder should be', async () => {
    await writeFile(folder.file('file'), 'x');
    const error = await nbdeltaFails(restore('--to', folder.file('file')), {
      exitCode: 30,
      code: 'TARGET_EXISTS',
    });
    expect(error.message).toContain('is a file; without --disk the target is a folder');
  });

  it('leaves no empty folder behind when it fails', async () => {
    await using scratch = await tempFolder();
    const copy = await copyRepository(sample, scratch);
    const volume = join(copy.path, 'web1', sample.full, 'vda.0001.tar');
    const bytes = await readFile(volume);
    bytes[300_000]! ^= 1;
    await writeFile(volume, bytes);
    const args = ['restore', 'web1', '--repo', copy.path, '--to'];
    const damaged = { exitCode: 24, code: 'DATA_DAMAGED' };
    await nbdeltaFails([...args, scratch.file('new')], damaged);
    await mkdir(scratch.file('theirs'));
    await nbdeltaFails([...args, scratch.file('theirs')], damaged);
    expect((await readdir(scratch.path)).sort()).toEqual(['copy', 'theirs']);
  });
});

describe('a restore with --disk', () => {
  it.each(['vmdk', 'vdi', 'VHDX'])('does not call raw content .%s', async ending => {
    const to = ['--disk', 'vda', '--to', folder.file(`disk.${ending}`)];
    const error = await nbdeltaFails(restore(...to), { exitCode: 2, code: 'USAGE' });
    expect(error.message).toContain(`only raw and qcow2 are written, not ${ending.toLowerCase()}`);
    await nbdeltaOk(restore(...to, '--format', 'raw'));
  });
});

describe('a partial point', () => {
  it('is not restored as a whole, and says what can be; verify tells what is missing', async () => {
    await using good = new SampleGuest(folder);
    await using scratch = await tempFolder();
    await using bad = new SampleGuest(scratch);
    const readInto = async () => {
      throw new Error('bad sector');
    };
    const broken = await bad.publish(({ size, contexts, status }) => ({
      ...{ size, contexts, readInto },
      status: status.bind(bad.disk),
    }));
    const repo = ['--repo', scratch.file('repository')];
    const disks = [`vda=${broken}`, `vdb=${await good.publish()}`];
    const made = await nbdelta(['backup', ...disks, ...repo, '--name', 'part', '--allow-partial']);
    expect(made.code).toBe(40);
    const fails = { exitCode: 13, code: 'DISK_UNKNOWN' };
    const error = await nbdeltaFails(['restore', 'part', ...repo, '--to', scratch.file('all')], fails);
    expect(error.message).toMatch(/^disk vda is not in point/);
    expect(error.hint).toContain('--disk vdb');
    const verified = await nbdelta(['verify', ...repo]);
    expect(verified.code).toBe(0);
    expect(verified.stdout).toMatch(/^note: part@\S+ is partial: disk vda is not in it$/m);
    expect(made.stdout).not.toContain('disk vda: disk vda');
    expect(made.stdout).not.toContain('failed: disk vda');
  });
});
