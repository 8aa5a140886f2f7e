import { expect, it } from 'vitest';
import { parseDomain } from '#nbdelta/hypervisor/libvirt/domain-xml.js';

const disk = (target: string, driver: string, bus: string, address = '') =>
  `<disk type='file' device='disk'><driver name='qemu' type='qcow2'${driver}/><source file='/x'/>
    <target dev='${target}' bus='${bus}'/>${address}</disk>`;

const XML = `<domain><name>a</name><uuid>u</uuid><devices>
  ${disk('vda', " iothread='1'", 'virtio')}
  ${disk('vdb', '', 'virtio')}
  ${disk('sda', '', 'scsi', "<address type='drive' controller='1'/>")}
  ${disk('sdb', '', 'scsi', "<address type='drive' controller='0'/>")}
  <disk type='file' device='disk'><driver type='qcow2'><iothreads><iothread id='1'/></iothreads></driver>
    <source file='/x'/><target dev='vdc' bus='virtio'/></disk>
  <controller type='scsi' index='0'/><controller type='scsi' index='1'><driver iothread='2'/></controller>
  <controller type='usb' index='1'><driver iothread='2'/></controller>
</devices></domain>`;

it('disks in I/O threads are known: by their own, by several, by their SCSI controller', () => {
  const threaded = parseDomain(XML).disks.filter(({ inIoThread }) => inIoThread);
  expect(threaded.map(({ target }) => target)).toEqual(['vda', 'sda', 'vdc']);
});
