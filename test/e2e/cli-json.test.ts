/** `--json` of every command: one document on stdout with the promised fields, nothing on stderr. */
import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { outputMatches } from '../support/processes.js';
import { type TempFolder, tempFolder } from '../support/temp-folder.js';
import { nbdelta, startNbdelta } from './nbdelta-command.js';
import { makeSampleRepository, SAMPLE_SIZE, SampleGuest, type SampleRepository } from './sample-guest.js';

let folder: TempFolder;
let sample: SampleRepository;
let guest: SampleGuest;

beforeAll(async () => {
  folder = await tempFolder();
  sample = await makeSampleRepository(folder);
  guest = new SampleGuest(folder);
  guest.change();
});

afterAll(async () => {
  await guest[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

/** The document of a command that succeeds, and nothing else anywhere. */
async function json(...args: readonly string[]): Promise<unknown> {
  const { code, stdout, stderr } = await nbdelta([...args, '--json']);
  expect({ code, stderr }, args.join(' ')).toEqual({ code: 0, stderr: '' });
  expect(stdout.endsWith('\n')).toBe(true);
  return JSON.parse(stdout);
}

const repo = () => ['--repo', sample.path];

describe('--json', () => {
  it('info', async () => {
    expect(await json('info', await guest.publish())).toMatchObject({
      export: 'vda',
      size: SAMPLE_SIZE,
      encrypted: false,
      contexts: ['base:allocation', 'qemu:dirty-bitmap:backup-vda'],
      blockSize: { minimum: 1 },
      exports: [{ name: 'vda' }],
    });
  });

  it('map', async () => {
    const uri = await guest.publish();
    const document = (await json('map', uri, '--bitmap', 'backup-vda')) as {
      readonly totals: Readonly<Record<string, number>>;
      readonly extents: readonly {
        readonly offset: number;
        readonly length: number;
        readonly kind: string;
      }[];
    };
    expect(document).toMatchObject({ uri, size: SAMPLE_SIZE, bitmap: 'backup-vda' });
    const { data, zero, unchanged } = document.totals;
    expect(data! + zero! + unchanged!).toBe(SAMPLE_SIZE);
    const sum = (kind: string) =>
      document.extents
        .filter(extent => extent.kind === kind)
        .reduce((total, extent) => total + extent.length, 0);
    expect([sum('data'), sum('zero')]).toEqual([data, zero]);
  });

  it('backup', async () => {
    const target = folder.file('other');
    const document = await json('backup', await guest.publish(), '--repo', target, '--name', 'db');
    expect(document).toMatchObject({
      machine: 'db',
      elapsedMs: expect.any(Number),
      point: { level: 'full', partial: false, disks: [{ name: 'vda', status: 'stored', size: SAMPLE_SIZE }] },
    });
  });

  it('init', async () => {
    const target = folder.file('empty');
    expect(await json('init', '--repo', target)).toMatchObject({
      repository: target,
      id: expect.any(String),
    });
    expect(await json('list', '--repo', target)).toEqual({ repository: target, machines: [] });
  });

  it('list and show', async () => {
    expect(await json('list', ...repo())).toMatchObject({
      machines: [
        {
          machine: 'web1',
          points: [
            { id: sample.full, level: 'full', checkpoint: 'monday' },
            { id: sample.incremental, level: 'incremental', parent: { id: sample.full } },
          ],
          unreadable: [],
          incomplete: [],
        },
      ],
    });
    expect(await json('show', 'web1', ...repo())).toMatchObject({
      machine: 'web1',
      point: { id: sample.incremental },
      manifestSha256: expect.stringMatching(/^[0-9a-f]{64}$/),
    });
  });

  it('restore', async () => {
    const to = folder.file('restored.raw');
    expect(await json('restore', 'web1', '--disk', 'vda', '--to', to, ...repo())).toMatchObject({
      machine: 'web1',
      point: sample.incremental,
      disks: [{ disk: 'vda', target: to, size: SAMPLE_SIZE, chain: [sample.full, sample.incremental] }],
    });
    expect((await readFile(to)).equals(sample.after)).toBe(true);
  });

  it('restore to stdout keeps the disk clean: the document is on stderr', async () => {
    const result = await nbdelta(['restore', `web1@${sample.full}`, '--to', '-', '--json', ...repo()]);
    expect(result.code).toBe(0);
    expect(JSON.parse(result.stderr)).toMatchObject({ point: sample.full, disks: [{ target: '-' }] });
    const failed = await nbdelta(['restore', 'web1@1999', '--to', '-', '--json', ...repo()]);
    expect(failed).toMatchObject({ code: 13, stdout: '' });
    expect(JSON.parse(failed.stderr)).toMatchObject({ error: { code: 'POINT_UNKNOWN' } });
  });

  it('verify', async () => {
    expect(await json('verify', 'web1', ...repo())).toMatchObject({
      ok: true,
      points: 2,
      archives: 2,
      problems: [],
    });
  });

  it('serve says where it listens, once, and stops when told', async () => {
    const args = ['serve', 'web1', '--json', ...repo()];
    await using server = await startNbdelta(args, outputMatches(/\n\}\n$/));
    const document = JSON.parse(server.stdout) as { readonly disks: readonly { readonly uri: string }[] };
    expect(document).toMatchObject({ machine: 'web1', point: sample.incremental, pid: server.pid });
    expect(await json('info', document.disks[0]!.uri)).toMatchObject({ size: SAMPLE_SIZE });
    process.kill(server.pid, 'SIGINT');
    expect(await server.ended).toBe(0);
    expect(server.stderr).toBe('');
  });
});
