import { mkdir, writeFile } from 'node:fs/promises';
import { describe, expect, it, vi } from 'vitest';
import { applianceFailed, mayBeKvm } from '#nbdelta/operations/files/appliance-failure.js';
import { guestfishFailed } from '#nbdelta/operations/files/guestfish-failure.js';
import { tempFolder } from '../../../support/temp-folder.js';

const SUPERMIN =
  '*stdin*:2: libguestfs: error: /usr/bin/supermin exited with error status 1.\nTo see full error …\n';

describe('an appliance that does not start', () => {
  it('has no kernel, or has one', async () => {
    vi.stubEnv('SUPERMIN_KERNEL', undefined);
    await using folder = await tempFolder();
    const places = { boot: folder.file('boot'), modules: folder.file('modules') };
    const failed = () => applianceFailed(guestfishFailed('run', SUPERMIN), places);
    expect(await failed()).toMatchObject({
      ...{ code: 'TOOL_MISSING', hint: expect.stringContaining('linux-image') },
      message: 'libguestfs cannot start its appliance: there is no kernel here for its appliance',
    });
    await mkdir(`${places.modules}/6.1`, { recursive: true });
    await writeFile(`${places.modules}/6.1/vmlinuz`, '');
    expect((await failed()).message).toMatch(/supermin exited with error status 1\.$/);
    vi.unstubAllEnvs();
  });

  it('leaves other errors as they are', async () => {
    const error = guestfishFailed('ls0', 'libguestfs: error: ls0: /x: No such file or directory');
    expect(await applianceFailed(error)).toBe(error);
  });

  it('may be tried once more when QEMU died', () => {
    const crashed = 'libguestfs: error: appliance closed the connection unexpectedly.\n';
    expect(mayBeKvm(guestfishFailed('run', crashed))).toBe(true);
    expect(mayBeKvm(guestfishFailed('run', SUPERMIN))).toBe(false);
    expect(mayBeKvm(guestfishFailed('ls0', crashed))).toBe(false);
  });
});
