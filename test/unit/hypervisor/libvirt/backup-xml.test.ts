import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  formatBackup,
  formatCheckpoint,
  type JobDisk,
  parseBackup,
} from '#nbdelta/hypervisor/libvirt/backup-xml.js';
import { parseCheckpoint } from '#nbdelta/hypervisor/libvirt/checkpoint-xml.js';

const RUN = 'nbdelta-0123abcd-20261123T232718Z-cad5d604';

function disk(changes: Partial<JobDisk> = {}): JobDisk {
  const scratch = { path: `/var/tmp/${RUN}-vda.qcow2`, isDevice: false };
  return { name: 'vda', since: null, hasCheckpoint: true, scratch, encryption: undefined, ...changes };
}

/** As `virsh backup-dumpxml` of libvirt 9.0 prints it. */
const RUNNING = `<domainbackup mode='pull'>
  <incremental>c1</incremental>
  <server transport='unix' socket='/run/nbdelta/${RUN}/s'/>
  <disks>
    <disk name='vda' backup='yes' type='file' backupmode='incremental' incremental='c1' exportname='vda' exportbitmap='backup-vda' index='4'>
      <driver type='qcow2'/>
      <scratch file='/var/tmp/${RUN}-vda.qcow2'/>
    </disk>
    <disk name='vdb' backup='no'/>
  </disks>
</domainbackup>`;

describe('parseBackup', () => {
  it('reads a job, and whose it is', () => {
    expect(parseBackup(RUNNING)).toEqual({
      mode: 'pull',
      server: { kind: 'unix', socket: `/run/nbdelta/${RUN}/s` },
      disks: [
        {
          name: 'vda',
          exportName: 'vda',
          exportBitmap: 'backup-vda',
          scratch: `/var/tmp/${RUN}-vda.qcow2`,
        },
      ],
      runs: [RUN],
    });
  });

  it("knows a job of somebody else's, and one that pushes", () => {
    const tcp = parseBackup("<domainbackup mode='pull'><server name='h' port='10809'/></domainbackup>");
    expect(tcp).toMatchObject({ server: { kind: 'tcp', host: 'h', port: 10809 }, runs: [] });
    expect(parseBackup('<domainbackup/>')).toMatchObject({ mode: 'push', server: undefined, disks: [] });
  });

  it('does not take a longer name for a run of ours', () => {
    const other = RUNNING.replaceAll('/nbdelta-', '/not-nbdelta-');
    expect(parseBackup(other).runs).toEqual([]);
  });
});

describe('formatBackup', () => {
  it('names every disk: what is not named would be for libvirt to decide', () => {
    const xml = formatBackup(
      { kind: 'unix', socket: '/s' },
      [disk(), disk({ name: 'vdb', since: 'c1', scratch: { path: '/dev/sdz', isDevice: true } })],
      ['sda'],
    );
    expect(xml).toContain('<server transport="unix" socket="/s"/>');
    expect(xml).toContain('<disk name="vda" backup="yes" type="file" backupmode="full">');
    expect(xml).toContain('type="block" backupmode="incremental" incremental="c1"');
    expect(xml).toContain('<scratch dev="/dev/sdz"/>');
    expect(xml).toContain('<disk name="sda" backup="no"/>');
  });

  it('never goes over TCP in clear', () => {
    const xml = formatBackup({ kind: 'tcp', host: '127.0.0.1', port: 10809 }, [disk()], []);
    expect(xml).toContain('<server transport="tcp" tls="yes" name="127.0.0.1" port="10809"/>');
  });

  it("encrypts the scratch of an encrypted disk with the disk's own secret", () => {
    const encryption = "<encryption format='luks'><secret type='passphrase' uuid='u-u'/></encryption>";
    const xml = formatBackup({ kind: 'unix', socket: '/s' }, [disk({ encryption })], []);
    expect(xml).toMatch(/<scratch [^>]*><encryption format="luks"><secret type="passphrase" uuid="u-u"\/>/);
  });

  it('whatever the paths are, libvirt reads the same ones', () => {
    // XML has no control characters; a parser turns them, and broken surrogates, into an error.
    const path = fc
      .string({ unit: 'grapheme', minLength: 1 })
      .filter(text => !/[\p{Cc}\p{Cs}\uFFFE\uFFFF]/u.test(text));
    fc.assert(
      fc.property(path, path, (socket, file) => {
        const scratch = { path: file, isDevice: false };
        const parsed = parseBackup(formatBackup({ kind: 'unix', socket }, [disk({ scratch })], []));
        expect(parsed.server).toEqual({ kind: 'unix', socket });
        expect(parsed.disks[0]?.scratch).toBe(file);
      }),
    );
  });
});

describe('formatCheckpoint', () => {
  it('names every disk', () => {
    const xml = formatCheckpoint(RUN, [disk(), disk({ name: 'vdb', hasCheckpoint: false })], ['vdc']);
    expect(parseCheckpoint(xml)).toEqual({
      name: RUN,
      parent: undefined,
      domainUuid: undefined,
      disks: [
        { name: 'vda', bitmap: RUN, size: undefined },
        { name: 'vdb', bitmap: undefined, size: undefined },
        { name: 'vdc', bitmap: undefined, size: undefined },
      ],
    });
  });
});
