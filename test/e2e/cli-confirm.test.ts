/** A job that somebody else drives: only he knows whether it is the same still, and he is asked. */
import { readdir } from 'node:fs/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { NbdServerHandle } from '../support/nbd-server-handle.js';
import { startNbdkit } from '../support/nbdkit.js';
import { describeWith } from '../support/peers.js';
import { type TempFolder, tempFolder } from '../support/temp-folder.js';
import { nbdeltaFails, nbdeltaOk } from './nbdelta-command.js';

describeWith(['nbdkit'], '--confirm with an NBD URI', () => {
  let folder: TempFolder;
  let server: NbdServerHandle;
  const backup = (confirm: string) => [
    ...['backup', `vda=${server.uri}`, '--repo', folder.file('repo'), '--name', 'web1', '--confirm', confirm],
  ];

  beforeAll(async () => {
    folder = await tempFolder();
    server = await startNbdkit({ plugin: ['memory', '1M'] });
  });
  afterAll(async () => {
    await server?.[Symbol.asyncDispose]();
    await folder[Symbol.asyncDispose]();
  });

  it('that is refused commits nothing, and says why', async () => {
    const args = backup('echo job 7 is gone >&2; exit 9');
    const error = await nbdeltaFails(args, { exitCode: 57, code: 'CONFIRM_REFUSED' });
    expect(error.message).toMatch(/exit code 9.*job 7 is gone/);
    expect(await readdir(folder.file('repo'))).toEqual(['nbdelta-repository.json']);
  });

  it('is asked when all data is stored, before the point exists', async () => {
    const seen = folder.file('seen');
    const repo = folder.file('repo');
    await nbdeltaOk(
      backup(`ls ${repo}/web1/2*/vda.0001.tar > ${seen} && ! ls ${repo}/web1/2*/manifest.json`),
    );
    expect(await nbdeltaOk(['list', 'web1', '--repo', repo])).toContain('full');
  });
});
