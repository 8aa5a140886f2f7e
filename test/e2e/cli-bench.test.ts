/** `nbdelta bench`: what a backup costs on an export, stage by stage. */
import { readdir } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type TempFolder, tempFolder } from '../support/temp-folder.js';
import { nbdelta, nbdeltaJson, nbdeltaOk } from './nbdelta-command.js';
import { SampleGuest } from './sample-guest.js';

interface MeasuredJson {
  readonly stages: readonly { readonly stage: string; readonly bytes: number; readonly cpuSeconds: number }[];
  readonly read: { readonly bytes: number; readonly seconds: number };
  readonly connections: number;
}

const STAGES = [
  'negotiate',
  'map',
  'read',
  'zero test',
  'digest',
  'compress',
  'digest of what is stored',
  'write',
];

let folder: TempFolder;
let guest: SampleGuest;
let uri: string;

beforeAll(async () => {
  folder = await tempFolder();
  guest = new SampleGuest(folder);
  uri = await guest.publish();
});

afterAll(async () => {
  await guest[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

describe('nbdelta bench', () => {
  it('measures every stage, and leaves nothing behind', async () => {
    const measured = await nbdeltaJson<MeasuredJson>(['bench', uri, '--dir', folder.path]);
    expect(measured.stages.map(({ stage }) => stage)).toEqual(STAGES);
    expect(measured.read.bytes).toBeGreaterThan(0);
    const bytes = Object.fromEntries(measured.stages.map(each => [each.stage, each.bytes]));
    expect(bytes['read']).toBe(measured.read.bytes);
    expect(bytes['write']).toBe(bytes['digest of what is stored']);
    for (const { stage, cpuSeconds } of measured.stages) expect(cpuSeconds, stage).toBeGreaterThanOrEqual(0);
    expect((await readdir(folder.path)).filter(name => name.startsWith('nbdelta-bench-'))).toEqual([]);
  });

  it('shows the stages when asked, and does not carry over what was measured with too little', async () => {
    const plain = await nbdeltaOk(['bench', uri]);
    expect(plain).not.toContain('STAGE');
    const output = await nbdeltaOk(['bench', uri, '--stages']);
    for (const stage of STAGES) expect(output).toContain(stage);
    expect(output).toContain('too little data for more: 64.0 MiB would do');
    expect(output).not.toContain('CORES');
  });

  it.each([
    [['--dir', '/nonexistent'], 'cannot write a file in /nonexistent: ENOENT', 31],
    [['--level', '20'], 'unknown codec "zstd:20"', 2],
    [['--read', '4K'], '4096 bytes to read, expected at least 1048576', 2],
  ])('%s is refused in a line', async (args, line, exitCode) => {
    const { code, stdout, stderr } = await nbdelta(['bench', uri, ...args]);
    expect(stdout).toBe('');
    expect(stderr.split('\n')[0]).toContain(line);
    expect(code).toBe(exitCode);
  });
});
