import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import { markProcess, readCommand } from '#nbdelta/hypervisor/host/process-start.js';
import { imageArgument } from '#nbdelta/hypervisor/image/image-argument.js';
import { endProcess, isServing, serverOf } from '#nbdelta/hypervisor/image/server-processes.js';

const image = { path: '/vm/a', format: 'raw', isDevice: false, isEncrypted: false, secretFile: undefined };
const server = ['qemu-nbd', '--read-only', '--socket', '/run/s', imageArgument(image, 'reading')];
const seen = (argv: readonly string[]) => serverOf({ pid: 7, start: '1', argv });

describe('whose a process is', () => {
  it('is told by its command line', () => {
    expect(seen(server)).toEqual({ pid: 7, start: '1', socket: '/run/s', image: '/vm/a' });
    expect(seen(['/usr/bin/qemu-nbd', ...server.slice(1)])).toMatchObject({ image: '/vm/a' });
    expect(seen(['/usr/bin/setpriv', '--pdeathsig', 'TERM', '--', ...server])).toMatchObject({
      socket: '/run/s',
    });
  });

  it.each([
    [[]],
    [['qemu-nbd']],
    [['qemu-nbd', '-k', '/run/s', '/vm/a']],
    [['qemu-nbd', '--socket']],
    [['vim', 'qemu-nbd', '--socket', '/run/s']],
    [['not-qemu-nbd', '--socket', '/run/s']],
  ])('%j is none of ours', argv => {
    expect(seen(argv)).toBeUndefined();
  });

  it("somebody else's qemu-nbd serves no image of ours", () => {
    expect(seen(['qemu-nbd', '--socket', '/x', '/vm/a'])).toMatchObject({ image: undefined });
  });
});

describe('a number that came again', () => {
  it('is never ended, and serves nothing', async () => {
    const child = spawn('sleep', ['60'], { stdio: 'ignore' });
    const ended = once(child, 'exit');
    try {
      const mark = (await markProcess(child.pid!))!;
      const before = { ...mark, start: String(Number(mark.start) - 1) };
      expect(await endProcess(before)).toBe(false);
      expect(await markProcess(mark.pid)).toEqual(mark);
      expect((await readCommand(mark.pid))?.argv).toEqual(['sleep', '60']);
      // The very process, but no qemu-nbd.
      expect(await isServing(mark, '/run/s')).toBe(false);
      expect(await endProcess(mark)).toBe(true);
      expect(await endProcess(mark)).toBe(false);
    } finally {
      child.kill('SIGKILL');
      await ended;
    }
  });
});
