/** What the doctor says of a real domain, and that it changes nothing. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Diagnosis, doctor } from '#nbdelta/index.js';
import { nbdeltaFails } from '../e2e/nbdelta-command.js';
import { describeStack } from '../support/libvirt/describe-stack.js';
import { type Libvirtd, startLibvirtd } from '../support/libvirt/libvirtd.js';
import { definePausedDomain, type PausedDomain } from '../support/libvirt/paused-domain.js';
import { runOk } from '../support/processes.js';
import { createQcow2 } from '../support/qcow2-image.js';

const MIB = 2 ** 20;

describeStack('the doctor of a libvirt domain', () => {
  let libvirtd: Libvirtd;
  let domain: PausedDomain;

  beforeAll(async () => {
    libvirtd = await startLibvirtd();
    const { folder } = libvirtd;
    await createQcow2(folder.file('vda.qcow2'), 4 * MIB);
    await runOk('truncate', ['-s', '4M', folder.file('vdb.raw')]);
    domain = await definePausedDomain(libvirtd, {
      name: 'web1',
      disks: [
        { target: 'vda', image: folder.file('vda.qcow2'), format: 'qcow2' },
        { target: 'vdb', image: folder.file('vdb.raw'), format: 'raw' },
      ],
    });
  });
  afterAll(() => libvirtd?.[Symbol.asyncDispose]());

  const ask = (): Promise<Diagnosis> => {
    const { folder, uri } = libvirtd;
    return doctor({
      source: 'libvirt:web1',
      connect: uri,
      scratch: folder.path,
      stateDir: folder.file('state'),
    });
  };

  /** Everything that a doctor could have touched. */
  async function footprint(): Promise<string> {
    const xml = await libvirtd.virsh('dumpxml', 'web1');
    const checkpoints = await libvirtd.virsh('checkpoint-list', 'web1', '--name');
    const nodes = JSON.stringify(await domain.qmp('query-named-block-nodes', { flat: true }));
    const exports = JSON.stringify(await domain.qmp('query-block-exports'));
    const files = await runOk('find', [libvirtd.folder.path, '-maxdepth', '1']);
    return [xml, checkpoints, nodes, exports, files].join('\n');
  }

  it('says what can be backed up, and how', async () => {
    const { verdict, findings, guest } = await ask();
    expect(guest).toMatchObject({ name: 'web1', state: 'paused' });
    expect(verdict).toMatchObject({ full: true, incremental: true });
    const disks = findings.filter(({ id }) => id === 'disk').map(({ disk, status }) => [disk, status]);
    expect(disks).toEqual([
      ['vda', 'ok'],
      ['vdb', 'warning'],
    ]);
    expect(findings.filter(({ status }) => status === 'problem')).toEqual([]);
  });

  it('changes nothing', async () => {
    const before = await footprint();
    await ask();
    expect(await footprint()).toBe(before);
  });

  it('is one clear line for a domain that is not there', async () => {
    const args = ['doctor', 'libvirt:nosuch', '--connect', libvirtd.uri];
    const error = await nbdeltaFails(args, { exitCode: 50, code: 'GUEST_UNKNOWN' });
    expect(error.message).toContain('nosuch');
  });
});
