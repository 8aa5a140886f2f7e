import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { renamedPath } from '#nbdelta/hypervisor/libvirt/define/adapt-devices.js';
import { adaptDomain, type DomainChange } from '#nbdelta/hypervisor/libvirt/define/adapt-domain.js';
import {
  attribute,
  childElements,
  descend,
  parseXml,
  textOf,
} from '#nbdelta/hypervisor/libvirt/xml-document.js';

const STORED = `<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>web1</name>
  <uuid>11111111-2222-3333-4444-555555555555</uuid>
  <metadata><app:x xmlns:app='urn:app'>kept &amp; whole</app:x></metadata>
  <os><type arch='x86_64'>hvm</type><nvram template='/t.fd'>/var/lib/libvirt/qemu/nvram/web1_VARS.fd</nvram></os>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='none'/>
      <source file='/images/web1.snap1'/>
      <backingStore type='file'><source file='/images/web1.qcow2'/></backingStore>
      <target dev='vda' bus='virtio'/><boot order='1'/>
    </disk>
    <disk type='network' device='disk'>
      <driver name='qemu' type='raw'/>
      <auth username='u'><secret type='ceph' uuid='99999999-2222-3333-4444-555555555555'/></auth>
      <source protocol='rbd' name='pool/x'><host name='h' port='6789'/></source>
      <target dev='vdb' bus='virtio'/>
    </disk>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='/images/luks.qcow2'><encryption format='luks'/></source>
      <target dev='vdc' bus='virtio'/>
    </disk>
    <disk type='block' device='disk'><source dev='/dev/sdx'/><target dev='vdd' bus='virtio'/></disk>
    <disk type='file' device='cdrom'><source file='/iso/setup.iso'/><target dev='sda' bus='sata'/><readonly/></disk>
    <interface type='bridge'><mac address='52:54:00:11:22:33'/><source bridge='br0'/><target dev='tap7'/></interface>
    <channel type='unix'><source mode='bind' path='/run/agents/web1.agent'/><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <serial type='file'><source path='/var/log/console.log'/></serial>
    <graphics type='vnc' port='5901' autoport='no' listen='127.0.0.1'/>
    <vsock model='virtio'><cid auto='no' address='3'/></vsock>
  </devices>
  <qemu:commandline><qemu:arg value='-foo'/></qemu:commandline>
</domain>`;

const CHANGE: DomainChange = {
  name: 'web1-restored',
  uuid: 'aaaaaaaa-2222-3333-4444-555555555555',
  images: new Map([
    ['vda', { path: '/r/vda.qcow2', format: 'qcow2' as const }],
    ['vdb', { path: '/r/vdb.raw', format: 'raw' as const }],
    ['vdc', { path: '/r/a & "b".qcow2', format: 'qcow2' as const }],
  ]),
  nvram: '/r/web1-restored.nvram.fd',
  newMacs: false,
};

function adapted(change: Partial<DomainChange> = {}, stored = STORED) {
  const { xml, notices } = adaptDomain(stored, { ...CHANGE, ...change });
  const root = parseXml(xml, 'domain', 'the adapted description');
  const devices = descend(root, 'devices');
  const disk = (target: string) =>
    childElements(devices, 'disk').find(each => attribute(descend(each, 'target'), 'dev') === target);
  return { xml, root, devices, disk, notices: notices.join('\n') };
}

describe('a guest to be defined beside the original', () => {
  it('has a name and a uuid of its own', () => {
    const { root } = adapted();
    expect(textOf(descend(root, 'name'))).toBe('web1-restored');
    expect(textOf(descend(root, 'uuid'))).toBe(CHANGE.uuid);
  });

  it('has the restored files as its disks, and nothing of where they were', () => {
    const { disk, xml } = adapted();
    expect(attribute(disk('vda'), 'type')).toBe('file');
    expect(attribute(descend(disk('vda'), 'source'), 'file')).toBe('/r/vda.qcow2');
    expect(attribute(descend(disk('vda'), 'driver'), 'cache')).toBe('none');
    expect(descend(disk('vda'), 'boot')).toBeDefined();
    expect(attribute(disk('vdb'), 'type')).toBe('file');
    expect(attribute(descend(disk('vdb'), 'driver'), 'type')).toBe('raw');
    expect(attribute(descend(disk('vdc'), 'source'), 'file')).toBe('/r/a & "b".qcow2');
    for (const gone of ['backingStore', '<auth', 'rbd', 'encryption', '/images/'])
      expect(xml).not.toContain(gone);
  });

  it('leaves out disks that the point has not, empties drives, and says both', () => {
    const { disk, notices } = adapted();
    expect(disk('vdd')).toBeUndefined();
    expect(notices).toMatch(/vdd.*left out/);
    expect(descend(disk('sda'), 'source')).toBeUndefined();
    expect(notices).toContain('/iso/setup.iso');
    expect(notices).toMatch(/vdc was encrypted/);
  });

  it('shares no variables, sockets, ports or addresses with the original', () => {
    const { root, devices, xml, notices } = adapted();
    expect(textOf(descend(root, 'os', 'nvram'))).toBe('/r/web1-restored.nvram.fd');
    expect(xml).toContain('/run/agents/web1-restored.agent');
    expect(xml).toContain('/var/log/console.log.web1-restored');
    expect(attribute(descend(devices, 'graphics'), 'autoport')).toBe('yes');
    expect(attribute(descend(devices, 'vsock', 'cid'), 'auto')).toBe('yes');
    expect(xml).not.toMatch(/tap7|5901|address="3"/);
    expect(notices).toMatch(/52:54:00:11:22:33 was kept/);
  });

  it('has new network addresses when asked', () => {
    const { devices } = adapted({ newMacs: true });
    expect(descend(devices, 'interface')).toBeDefined();
    expect(descend(devices, 'interface', 'mac')).toBeUndefined();
  });

  it('gets fresh variables when the point has none', () => {
    const { root, notices } = adapted({ nvram: undefined });
    expect(descend(root, 'os', 'nvram')).toBeUndefined();
    expect(notices).toMatch(/UEFI/);
  });

  it('keeps what it does not know', () => {
    const { xml } = adapted();
    expect(xml).toContain('kept &amp; whole');
    expect(xml).toContain('urn:app');
    expect(xml).toMatch(/<qemu:arg value="-foo"/);
  });

  it.each([
    ['another document', '<network/>'],
    ['no XML', '<domain><name>x</domain>'],
    ['entities', '<!DOCTYPE x [<!ENTITY a "b">]><domain><name>&a;</name></domain>'],
    ['nothing', ''],
  ])('is not made of %s', (_, stored) => {
    expect(() => adaptDomain(stored, CHANGE)).toThrow(expect.objectContaining({ code: 'HYPERVISOR_FAILED' }));
  });
});

describe('paths that carry the name', () => {
  it('always differ from the original, in the same folder', () => {
    const part = fc.stringMatching(/^[a-z0-9.-]{1,12}$/);
    fc.assert(
      fc.property(part, part, part, (file, before, name) => {
        fc.pre(before !== name);
        const path = `/run/${file}`;
        const renamed = renamedPath(path, before, name);
        expect(renamed).not.toBe(path);
        expect(renamed.startsWith('/run/')).toBe(true);
        expect(renamed.slice('/run/'.length)).not.toContain('/');
      }),
    );
  });
});
