/** What is called like a dead run, and is none: in folders where everybody may put things, and of runs at other guests. */
import { mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { parseRunName } from '#nbdelta/hypervisor/run-name.js';
import { backupGuest, beginSession, checkSession, endSession, recover } from '#nbdelta/index.js';
import { describeWith } from '../support/peers.js';
import { createQcow2 } from '../support/qcow2-image.js';
import { startQemuSystem } from '../support/qemu-system.js';
import { type TempFolder, tempFolder } from '../support/temp-folder.js';

async function startGuest(folder: TempFolder, name: string) {
  const image = folder.file(`${name}.qcow2`);
  await createQcow2(image, 1 << 20);
  return await startQemuSystem({ disks: [{ name: 'vda', image }] });
}

describeWith(['qemu-system-x86_64', 'qemu-img', 'stdbuf'], 'sweeping', () => {
  it('empties no folder that a link leads to, and what cannot be removed keeps no backup from its work', async () => {
    await using folder = await tempFolder();
    await using guest = await startGuest(folder, 'vda');
    const [scratch, socketDir] = [folder.file('scratch'), folder.file('sockets')];
    for (const name of ['scratch', 'victim']) await mkdir(folder.file(name));
    await writeFile(folder.file('victim/kept'), '');
    const backup = () =>
      backupGuest({
        ...{ source: `qmp:${guest.qmpSocket}`, scratch, scratchReserve: 1 << 20, socketDir },
        ...{ repository: folder.file('repo'), machine: 'guest', stateDir: folder.file('state') },
      });
    const { owner } = parseRunName((await backup()).point.checkpoint!)!;
    const [link, deep] = ['00000000', '11111111'].map(end => `nbdelta-${owner}-20200101T000000Z-${end}`);
    await symlink(folder.file('victim'), `${scratch}/${link}`);
    await mkdir(`${scratch}/${deep}/below/that`, { recursive: true });

    const { point, warnings } = await backup();
    expect(point.level).toBe('incremental');
    expect(warnings.map(({ code }) => code)).toEqual(['left-behind', 'left-behind']);
    expect(await readdir(folder.file('victim'))).toEqual(['kept']);
    expect((await readdir(scratch)).sort()).toEqual([link, deep]);
  });

  it('--force at one guest leaves a session at another one alone, wherever its socket is', async () => {
    await using folder = await tempFolder();
    await using one = await startGuest(folder, 'one');
    await using two = await startGuest(folder, 'two');
    await mkdir(folder.file('scratch'));
    const shared = {
      scratch: folder.file('scratch'),
      scratchReserve: 1 << 20,
      stateDir: folder.file('state'),
    };
    const session = await beginSession({
      ...{ ...shared, source: `qmp:${one.qmpSocket}`, socketDir: folder.file('ones') },
    });
    const { actions } = await recover({
      ...{ ...shared, source: `qmp:${two.qmpSocket}`, socketDir: folder.file('twos'), force: true },
    });
    expect(actions).toEqual([]);
    expect(await readdir(`${shared.scratch}/${session.token}`)).toEqual(['disk-vda.qcow2']);
    await checkSession({ ...shared, token: session.token });
    await endSession({ ...shared, token: session.token, outcome: 'commit' });
    expect(await readdir(shared.scratch)).toEqual([]);
  });
});
