/** merge, diff, copy, export and salvage as a process: what people see, what programs get, and what is refused. */
import { readdir, readFile, truncate } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { expectSameBytes, restoreBytes } from '../support/restore-check.js';
import { type TempFolder, tempFolder } from '../support/temp-folder.js';
import { nbdelta, nbdeltaFails, nbdeltaJson, nbdeltaOk } from './nbdelta-command.js';
import { copyRepository, makeSampleRepository, type SampleRepository } from './sample-guest.js';

const USAGE = { exitCode: 2, code: 'USAGE' };
const POINT_UNKNOWN = { exitCode: 13, code: 'POINT_UNKNOWN' };

let made: TempFolder;
let original: SampleRepository;
let folder: TempFolder;
let sample: SampleRepository;
const repo = () => ['--repo', sample.path] as const;

beforeAll(async () => {
  made = await tempFolder();
  original = await makeSampleRepository(made);
});
afterAll(() => made[Symbol.asyncDispose]());

beforeEach(async () => {
  folder = await tempFolder();
  sample = await copyRepository(original, folder);
});
afterEach(() => folder[Symbol.asyncDispose]());

describe('the commands on chains', () => {
  it('merge: says what became of what, and is refused in one line', async () => {
    await nbdeltaFails(['merge', 'web1', ...repo()], USAGE);
    await nbdeltaFails(['merge', 'web1', '--from', 'nonsense', ...repo()], POINT_UNKNOWN);
    await nbdeltaFails(['merge', 'nobody', '--into', 'full', ...repo()], {
      exitCode: 12,
      code: 'MACHINE_UNKNOWN',
    });
    const text = await nbdeltaOk(['merge', 'web1', '--from', sample.full, ...repo()]);
    expect(text).toMatch(/^merged 2 points into web1@\S+, full\n.*frames? copied/);
    const { stderr } = await nbdelta(['show', `web1@${sample.full}`, ...repo()]);
    expect(stderr).toMatch(/^ {2}hint: It was merged into /m);
    const shown = await nbdeltaOk(['show', `web1@${sample.incremental}`, ...repo()]);
    expect(shown).toMatch(new RegExp(`stands for +${sample.incremental}`));
    expect(await nbdeltaOk(['list', 'web1', ...repo()])).toMatch(/ merged$/m);
    expectSameBytes(await restoreBytes(sample.path, 'web1'), sample.after, 'merged');
  });

  it('diff: a table, a picture and totals; --json has the extents', async () => {
    const points = [`web1@${sample.full}`, `web1@${sample.incremental}`];
    const text = await nbdeltaOk(['diff', ...points, ...repo()]);
    expect(text).toMatch(/OFFSET +LENGTH +KIND +SIZE/);
    expect(text).toMatch(/unchanged +\d/);
    type Diff = {
      readonly disks: readonly { readonly extents: readonly { offset: number; length: number }[] }[];
    };
    const { disks } = await nbdeltaJson<Diff>(['diff', ...points, '--content', ...repo()]);
    for (const { offset, length } of disks[0]!.extents) {
      const [a, b] = [sample.before, sample.after].map(content => content.subarray(offset, offset + length));
      expect(a!.equals(b!)).toBe(false);
    }
    await nbdeltaFails(['diff', ...points, '--disk', 'vdz', ...repo()], {
      exitCode: 13,
      code: 'DISK_UNKNOWN',
    });
  });

  it('copy: a second repository, once', async () => {
    const to = folder.file('second');
    expect(await nbdeltaOk(['copy', 'web1', '--to', to, ...repo()])).toMatch(/2 points copied: /);
    expect(await nbdeltaOk(['copy', 'web1', '--to', to, ...repo()])).toMatch(/0 points copied, 2 were there/);
    expectSameBytes(await restoreBytes(to, 'web1'), sample.after, 'copied');
    await nbdeltaFails(['copy', 'web1', '--to', folder.path, ...repo()], {
      exitCode: 10,
      code: 'REPOSITORY_INVALID',
    });
  });

  it('export: raw disks and a tar; never into a folder with something in it', async () => {
    await nbdeltaOk(['export', 'web1', '--to', folder.file('raw'), '--format', 'raw', ...repo()]);
    expectSameBytes(await readFile(folder.file('raw', 'vda.raw')), sample.after, 'exported');
    await nbdeltaOk(['export', 'web1', '--to', folder.file('tar'), '--format', 'tar', ...repo()]);
    expect(await readdir(folder.file('tar'))).toEqual([`web1-${sample.incremental}.tar`]);
    const again = ['export', 'web1', '--to', folder.file('tar'), '--format', 'raw', ...repo()];
    await nbdeltaFails(again, { exitCode: 30, code: 'TARGET_EXISTS' });
    await nbdeltaFails(['export', 'web1', '--to', folder.file('x'), ...repo()], USAGE);
  });

  it('salvage: exit code 24 when something is lost, with the result', async () => {
    const volume = `${sample.path}/web1/${sample.full}/vda.0001.tar`;
    expect(await nbdeltaOk(['salvage', volume, '--to', folder.file('all.raw')])).toMatch(
      /everything that was stored/,
    );
    expectSameBytes(await readFile(folder.file('all.raw')), sample.before, 'salvaged');
    await truncate(volume, 1_000_000);
    const torn = await nbdelta(['salvage', volume, '--to', folder.file('some.raw'), '--json']);
    expect([0, 24]).toContain(torn.code);
    expect(
      torn.code === 24 && torn.stdout !== '' ? JSON.parse(torn.stdout) : { complete: false },
    ).toMatchObject({ complete: false });
    await nbdeltaFails(['salvage', volume, '--to', folder.file('all.raw')], {
      exitCode: 30,
      code: 'TARGET_EXISTS',
    });
  });
});
