import { mkdir } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { type Action, backupGuest } from '#nbdelta/index.js';
import { describeStack } from '../support/libvirt/describe-stack.js';
import { startLibvirtd } from '../support/libvirt/libvirtd.js';
import { definePausedDomain } from '../support/libvirt/paused-domain.js';
import { createQcow2 } from '../support/qcow2-image.js';

describeStack('a backup that fails while libvirtd is away', () => {
  it('tells of the job that it could not end, with the error that came first; the next one ends it', async () => {
    await using libvirtd = await startLibvirtd();
    const { folder } = libvirtd;
    const image = folder.file('vda.qcow2');
    await createQcow2(image, 1 << 20);
    await mkdir(folder.file('scratch'));
    const disks = [{ target: 'vda', image, format: 'qcow2' as const }];
    const domain = await definePausedDomain(libvirtd, { name: 'web1', disks });
    const left: Action[] = [];
    const recovered: Action[] = [];
    const places = { scratch: folder.file('scratch'), socketDir: folder.file('nbd') };
    const options = {
      ...{ source: 'libvirt:web1', connect: libvirtd.uri, ...places, scratchReserve: 1 << 20 },
      ...{ repository: folder.file('repo'), machine: 'web1', stateDir: folder.file('state') },
      onLeft: (action: Action) => left.push(action),
      onRecovered: (action: Action) => recovered.push(action),
    };
    const confirm = async () => {
      await libvirtd.kill();
      throw new Error('not confirmed');
    };
    await expect(backupGuest({ ...options, confirm })).rejects.toThrow('not confirmed');
    expect(left).toMatchObject([
      { what: 'left', text: expect.stringMatching(/could not be ended.*recover/) },
    ]);

    await libvirtd.start();
    const { point } = await backupGuest(options);
    expect(recovered.map(({ what }) => what)).toEqual(['job-ended', 'checkpoint-deleted']);
    expect(await domain.checkpoints()).toEqual([point.checkpoint]);
    expect(left).toHaveLength(1);
  });
});
