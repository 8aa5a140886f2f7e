/** `pin`, `unpin` and `prune` as a user's shell runs them. */
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { MachineListing, PinResult, PruneResult } from '#nbdelta/index.js';
import { fileDigests, restoreBytes } from '../support/restore-check.js';
import { type TempFolder, tempFolder } from '../support/temp-folder.js';
import { nbdelta, nbdeltaFails, nbdeltaJson, nbdeltaOk } from './nbdelta-command.js';
import { copyRepository, makeSampleRepository, type SampleRepository } from './sample-guest.js';

let folder: TempFolder;
let original: SampleRepository;
let place: TempFolder;
let sample: SampleRepository;

beforeAll(async () => {
  folder = await tempFolder();
  original = await makeSampleRepository(folder);
});
afterAll(() => folder[Symbol.asyncDispose]());

beforeEach(async () => {
  place = await tempFolder();
  sample = await copyRepository(original, place);
  return () => place[Symbol.asyncDispose]();
});

const repo = () => ['--repo', sample.path];

describe('prune', () => {
  it('prints a plan; with --dry-run the same one, and nothing is changed', async () => {
    const before = await fileDigests(sample.path);
    const dry = await nbdelta(['prune', 'web1', '--keep-last', '1', '--dry-run', ...repo()]);
    expect(dry).toMatchObject({ code: 0, stderr: '' });
    const [heading, header, first, second, ...totals] = dry.stdout.trimEnd().split('\n');
    expect(heading).toBe('web1: 2 points');
    expect(header).toMatch(/^ {2}POINT +TAKEN +LEVEL +STORED +ACTION$/);
    expect(first).toMatch(new RegExp(`^  ${sample.full} .* full .* merge +into ${sample.incremental}$`));
    expect(second).toMatch(new RegExp(`^  ${sample.incremental} .* keep +last, takes in 1 point$`));
    expect(totals).toEqual([
      expect.stringMatching(/^ {2}1 kept, 1 merged into others, 0 removed: at least \S+ \w+ freed$/),
      expect.stringMatching(/^ {2}at most \S+ \w+ written anew, up to \S+ \w+ more needed in between$/),
      'dry run: nothing was changed',
    ]);
    expect(await fileDigests(sample.path)).toEqual(before);

    const done = await nbdelta(['prune', 'web1', '--keep-last', '1', ...repo()]);
    expect(done.code).toBe(0);
    expect(done.stdout.split('\n').slice(0, 6)).toEqual(dry.stdout.split('\n').slice(0, 6));
    expect(done.stdout).toMatch(new RegExp(`${sample.incremental} is \\S+ now\ndone, \\S+ \\w+ freed\n$`));
    expect(done.stderr).toContain(`step 1 of 1: merging 1 point into ${sample.incremental}`);
    expect((await restoreBytes(sample.path, `web1@${sample.incremental}`)).equals(sample.after)).toBe(true);
    expect((await readdir(join(sample.path, 'web1'))).filter(name => name.includes('Z-'))).toHaveLength(1);
  });

  it('--json has the plan and what was done; --all has it of every machine', async () => {
    const one = ['prune', 'web1', '--keep-last', '1', ...repo()];
    const planned = await nbdeltaJson<PruneResult>([...one, '--dry-run']);
    expect(planned).toMatchObject({ machine: 'web1', dryRun: true, merged: [], held: [] });
    const all = ['prune', '--all', '--keep-last', '1', ...repo()];
    const done = await nbdeltaJson<{ machines: PruneResult[]; failures: unknown[] }>(all);
    expect(done.failures).toEqual([]);
    expect(done.machines).toMatchObject([
      { dryRun: false, steps: planned.steps, merged: [{ points: [sample.full, sample.incremental] }] },
    ]);
  });

  it('says what is wrong with what it was asked for', async () => {
    const usage = { exitCode: 2, code: 'USAGE' };
    const asked = async (...args: readonly string[]) =>
      (await nbdeltaFails(['prune', ...args], usage)).message;
    expect(await asked('web1', ...repo())).toContain('no policy');
    expect(await asked('web1', '--keep-last', '-2', ...repo())).toContain("argument '-2' is invalid");
    expect(await asked('web1', '--keep-within-daily', '2w', ...repo())).toBe(
      'keep-within-daily is "2w", which is no duration',
    );
    expect(await asked('--keep-last', '1', ...repo())).toContain('--all');
    const unknown = { exitCode: 12, code: 'MACHINE_UNKNOWN' };
    await nbdeltaFails(['prune', 'web2', '--keep-last', '1', ...repo()], unknown);
  });

  it('--all ends with the error of the machine that could not be pruned', async () => {
    await writeFile(join(sample.path, 'web1', sample.full, 'pinned.json'), '[]');
    const { code, stdout } = await nbdelta(['prune', '--all', '--keep-last', '1', ...repo()]);
    expect(code).toBe(10);
    expect(stdout).toMatch(/^not pruned {2}web1: nothing is pruned, because the pin of point [^\n]+\n$/);
  });
});

it('pin and unpin: prune leaves the point, list and show tell', async () => {
  const point = `web1@${sample.full}`;
  const told = await nbdeltaOk(['pin', point, '--note', 'before the\tupgrade', ...repo()]);
  expect(told).toBe(`${point} is pinned: before the?upgrade\n`);
  expect(await nbdeltaOk(['list', 'web1', ...repo()])).toMatch(/ {2}pinned: before the\?upgrade\n/);
  expect(await nbdeltaOk(['show', point, ...repo()])).toMatch(
    /\n {2}pinned +20\S+ \S+Z: before the\?upgrade\n/,
  );
  const { machines } = await nbdeltaJson<{ machines: MachineListing[] }>(['list', ...repo()]);
  expect(machines[0]?.pins).toMatchObject([{ point: sample.full, note: 'before the\tupgrade', error: null }]);

  expect(await nbdeltaOk(['prune', 'web1', '--keep-last', '1', ...repo()])).toMatch(/ keep +pinned\n/);
  expect((await restoreBytes(sample.path, point)).equals(sample.before)).toBe(true);

  const after = await nbdeltaJson<PinResult>(['unpin', point, ...repo()]);
  expect(after).toMatchObject({
    machine: 'web1',
    point: sample.full,
    pin: null,
    before: { point: sample.full },
  });
  expect(await nbdeltaOk(['unpin', point, ...repo()])).toBe(`${point} was not pinned\n`);
  await nbdeltaFails(['pin', 'web1@2019', ...repo()], { exitCode: 13, code: 'POINT_UNKNOWN' });
});
