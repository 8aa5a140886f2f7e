import { access, readdir, rm } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { tempFolder } from '../support/temp-folder.js';
import { nbdelta, nbdeltaJson, nbdeltaOk } from './nbdelta-command.js';

interface DemoJson {
  readonly ok: boolean;
  readonly folder: string;
  readonly repository: string;
  readonly restores: readonly { readonly comparison: { readonly same: boolean; readonly sha256: string } }[];
}

describe('nbdelta demo', () => {
  it('tells the whole story in a page, and leaves nothing behind', async () => {
    await using folder = await tempFolder();
    const output = await nbdeltaOk(['demo'], { env: { TMPDIR: folder.path } });
    expect(output.match(/identical/g)).toHaveLength(2);
    expect(output.match(/data {3}· zero/g)).toHaveLength(2);
    expect(output).toMatch(
      /\$ nbdelta backup 'vda=nbd\+unix:\S+' --name web1 --checkpoint tuesday --since monday/,
    );
    expect(output.split('\n').length).toBeLessThan(45);
    expect(await readdir(folder.path)).toEqual([]);
  });

  it('uses no glyph beyond ASCII where the locale has none, and no colour in a pipe', async () => {
    const output = await nbdeltaOk(['demo'], { env: { LC_ALL: 'C' } });
    expect(output).toMatch(/^[\n\x20-\x7e]*$/);
  });

  it('keeps a repository that every command can be tried on', async () => {
    const result = await nbdeltaJson<DemoJson>(['demo', '--keep']);
    try {
      expect(result.ok).toBe(true);
      expect(result.restores.map(({ comparison }) => comparison.same)).toEqual([true, true]);
      expect(await nbdeltaOk(['list'], { env: { NBDELTA_REPOSITORY: result.repository } })).toContain(
        'web1: 2 points',
      );
      expect(await nbdeltaOk(['verify', '--repo', result.repository])).toContain('all is well');
    } finally {
      await rm(result.folder, { recursive: true });
    }
  });

  it('says in one line that QEMU is missing', async () => {
    const result = await nbdelta(['demo', '--qemu'], { env: { PATH: '/nonexistent' } });
    expect(result).toMatchObject({ code: 32, stdout: '' });
    expect(result.stderr).toMatch(
      /^nbdelta: qemu-img is needed and failed: it is not installed\n {2}hint: install/,
    );
    await expect(access('/nonexistent')).rejects.toThrow();
  });
});
