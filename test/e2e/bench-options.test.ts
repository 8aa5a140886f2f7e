import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { describeWith } from '../support/peers.js';
import { run } from '../support/processes.js';

const BENCH = join(import.meta.dirname, '../../bench/run.mjs');
const bench = (...args: readonly string[]) => run(process.execPath, [BENCH, ...args]);

describe('what the benchmark is asked for', () => {
  it.each([
    [['--only', 'nope'], '--only nope: expected some of'],
    [['--runs', '0'], '--runs 0: expected a whole number of at least 1'],
    [['--dir', '/nonexistent'], '--dir /nonexistent: expected a folder that can be written (ENOENT)'],
    [['--dir', '/etc/passwd'], '--dir /etc/passwd: not a folder'],
    [['--nope'], "Unknown option '--nope'"],
  ])('%s is refused in one line, with the usage', async (args, line) => {
    const { code, stdout, stderr } = await bench(...args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    const [first, empty, usage] = stderr.split('\n');
    expect(first).toContain(line);
    expect([empty, usage]).toEqual(['', 'npm run bench [-- options]']);
  });
});

describeWith(['qemu-nbd'], 'a benchmark that has no room', () => {
  it('is told so in one line; no results are claimed', async () => {
    const { code, stdout } = await bench('--only', 'read', '--size', '1000000', '--results', '/proc/none');
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /^only .* are free in .*: a disk of 1000000 GiB needs 3000000 GiB, so what needs a disk is left out$/m,
    );
    expect(stdout).toMatch(/^results are printed only: \/proc\/none cannot be written \(ENOENT\)$/m);
    expect(stdout).not.toContain('table.md');
  });
});
