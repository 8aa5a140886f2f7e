import { describe, expect, it } from 'vitest';
import { parseDomain } from '#nbdelta/hypervisor/libvirt/domain-xml.js';

/** As `virsh dumpxml` of libvirt 9.0 prints a running domain; shortened. */
const RUNNING = `<domain type='qemu' id='4'>
  <name>web &amp; &lt;one&gt;</name>
  <uuid>ae32df35-8f2b-48f7-af1d-ebf397b6711b</uuid>
  <os><nvram template='/usr/share/OVMF/OVMF_VARS.fd'>/var/lib/libvirt/qemu/nvram/web_VARS.fd</nvram></os>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='writeback' discard='unmap'/>
      <source file='/images/web.qcow2' index='2'>
        <encryption format='luks'><secret type='passphrase' uuid='0a81f5b2-8403-4b23-c8d6-21ccc2f80d6f'/></encryption>
      </source>
      <backingStore type='file'><format type='qcow2'/><source file='/images/base.qcow2'/></backingStore>
      <target dev='vda' bus='virtio'/>
    </disk>
    <disk type='network' device='disk'>
      <driver name='qemu' type='raw'/>
      <auth username='admin'><secret type='ceph' uuid='0a81f5b2-8403-4b23-c8d6-21ccc2f80d6f'/></auth>
      <source protocol='rbd' name='pool/web' query='token=geheim'><host name='mon1' port='6789'/><host name='::1'/></source>
      <target dev='vdb' bus='virtio'/>
      <readonly/><shareable/>
    </disk>
    <disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>
    <disk type='volume' device='disk'><source pool='fast' volume='data'/><target dev='vdc'/><transient/></disk>
    <disk type='block' device='lun'><driver type='raw'/><source dev='/dev/sdz'/><target dev='sdb'/></disk>
  </devices>
  <seclabel type='dynamic' model='apparmor'><label>libvirt-1</label></seclabel>
  <seclabel type='dynamic' model='dac' relabel='yes'><label>+64055:+108</label></seclabel>
</domain>`;

describe('parseDomain', () => {
  const domain = parseDomain(RUNNING);
  const disk = (target: string) => domain.disks.find(each => each.target === target)!;

  it('reads who it is and as whom it runs', () => {
    expect(domain).toMatchObject({
      name: 'web & <one>',
      uuid: 'ae32df35-8f2b-48f7-af1d-ebf397b6711b',
      id: 4,
      dacLabel: '+64055:+108',
      nvram: '/var/lib/libvirt/qemu/nvram/web_VARS.fd',
    });
  });

  it("takes a disk's own source, not its backing file's", () => {
    expect(disk('vda')).toMatchObject({
      format: 'qcow2',
      source: '/images/web.qcow2',
      path: '/images/web.qcow2',
      isReadonly: false,
    });
    expect(disk('vda').encryption).toContain('0a81f5b2-8403');
  });

  it('describes other sources without credentials', () => {
    expect(disk('vdb').source).toBe('rbd://mon1:6789,[::1]/pool/web');
    expect(disk('vdb')).toMatchObject({ isReadonly: true, isShareable: true, path: undefined });
    expect(disk('vdc')).toMatchObject({ source: 'volume:fast/data', format: 'raw', isTransient: true });
    expect(disk('sdb')).toMatchObject({ device: 'lun', path: '/dev/sdz' });
    expect(disk('sda').source).toBeUndefined();
    expect(JSON.stringify(domain)).not.toContain('geheim');
  });

  it('knows a domain that is off, and one without labels', () => {
    const off = parseDomain('<domain><name>n</name><uuid>u</uuid></domain>');
    expect(off).toEqual({
      name: 'n',
      uuid: 'u',
      id: undefined,
      disks: [],
      dacLabel: undefined,
      nvram: undefined,
    });
  });

  it('takes an nvram that is a file, and no other', () => {
    const nvram = (source: string) =>
      parseDomain(`<domain><name>n</name><uuid>u</uuid><os><nvram type='x'>${source}</nvram></os></domain>`)
        .nvram;
    expect(nvram("<source file='/v.fd'/>")).toBe('/v.fd');
    expect(nvram("<source protocol='iscsi' name='v'/>")).toBeUndefined();
  });

  it.each([
    ['nothing', ''],
    ['words', 'error: no'],
    ['half of it', RUNNING.slice(0, 900)],
    ['another document', '<domainbackup/>'],
    ['a domain without a name', '<domain><uuid>u</uuid></domain>'],
    ['a disk without a target', '<domain><name>n</name><uuid>u</uuid><devices><disk/></devices></domain>'],
  ])('refuses %s', (_, text) => {
    expect(() => parseDomain(text)).toThrow(expect.objectContaining({ code: 'HYPERVISOR_FAILED' }));
  });
});
