import { stat } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { LocalHost } from '#nbdelta/hypervisor/host/local-host.js';
import { makeSocketFolder, socketPath } from '#nbdelta/hypervisor/host/socket-folder.js';
import { newRunName, parseRunName } from '#nbdelta/hypervisor/run-name.js';
import { tempFolder } from '../../../support/temp-folder.js';

describe('makeSocketFolder', () => {
  it('makes a folder that is called like the run', async () => {
    await using folder = await tempFolder();
    const run = newRunName('0123abcd').text;
    const made = await makeSocketFolder(new LocalHost(), run, { base: folder.path });
    expect(made).toEqual({ path: folder.file(run), socket: folder.file(run, 's') });
    expect(parseRunName(run)?.owner).toBe('0123abcd');
    expect((await stat(made.path)).isDirectory()).toBe(true);
  });

  it('makes nothing when the path would be too long', async () => {
    await using folder = await tempFolder();
    const base = folder.file('x'.repeat(60));
    const made = makeSocketFolder(new LocalHost(), newRunName('0123abcd').text, { base });
    await expect(made).rejects.toMatchObject({
      code: 'USAGE',
      hint: expect.stringContaining('--socket-dir'),
    });
    await expect(stat(base)).rejects.toThrow('ENOENT');
  });
});

describe('socketPath', () => {
  it('takes 107 bytes and no more; letters are not bytes', () => {
    expect(socketPath(`/${'x'.repeat(104)}`)).toHaveLength(107);
    expect(() => socketPath(`/${'x'.repeat(105)}`)).toThrow('108 bytes');
    expect(() => socketPath(`/${'é'.repeat(53)}`)).toThrow('109 bytes');
  });

  it('is absolute', () => {
    expect(() => socketPath('run/x')).toThrow('absolute');
  });
});
