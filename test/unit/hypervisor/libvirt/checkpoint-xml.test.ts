import { describe, expect, it } from 'vitest';
import { adaptForRedefinition, parseCheckpoint } from '#nbdelta/hypervisor/libvirt/checkpoint-xml.js';

/** As `virsh checkpoint-dumpxml --size` of libvirt 9.0 prints it; vdb's bitmap is inconsistent. */
const CHECKPOINT = `<domaincheckpoint>
  <name>c3</name>
  <parent>
    <name>c2</name>
  </parent>
  <creationTime>1795475376</creationTime>
  <disks>
    <disk name='vda' checkpoint='bitmap' bitmap='other' size='65536'/>
    <disk name='vdb' checkpoint='bitmap'/>
    <disk name='vdc' checkpoint='no'/>
  </disks>
  <domain type='qemu'><name>web</name><uuid>ae32df35-8f2b-48f7-af1d-ebf397b6711b</uuid>
    <devices><disk type='file'><target dev='vda'/></disk></devices></domain>
</domaincheckpoint>`;

describe('parseCheckpoint', () => {
  it('reads bitmaps, and which libvirt finds broken', () => {
    expect(parseCheckpoint(CHECKPOINT)).toEqual({
      name: 'c3',
      parent: 'c2',
      domainUuid: 'ae32df35-8f2b-48f7-af1d-ebf397b6711b',
      disks: [
        { name: 'vda', bitmap: 'other', size: 65536 },
        { name: 'vdb', bitmap: 'c3', size: undefined },
        { name: 'vdc', bitmap: undefined, size: undefined },
      ],
    });
  });

  it('refuses one without a name', () => {
    expect(() => parseCheckpoint('<domaincheckpoint/>')).toThrow('no name');
  });
});

describe('adaptForRedefinition', () => {
  const known = { checkpoints: ['c2'], disks: ['vda', 'vdb', 'vdc'] };

  it('keeps what is known', () => {
    const { xml, disks } = adaptForRedefinition(CHECKPOINT, known, []);
    expect(disks).toEqual(['vda', 'vdb']);
    expect(parseCheckpoint(xml)).toEqual(parseCheckpoint(CHECKPOINT));
  });

  it('leaves out a parent that libvirt forgot, too', () => {
    const { xml } = adaptForRedefinition(CHECKPOINT, { ...known, checkpoints: [] }, []);
    expect(parseCheckpoint(xml).parent).toBeUndefined();
  });

  it('leaves out disks that are gone, and those without a bitmap', () => {
    const { xml, disks } = adaptForRedefinition(CHECKPOINT, { ...known, disks: ['vda', 'vdb'] }, ['vda']);
    expect(disks).toEqual(['vdb']);
    expect(parseCheckpoint(xml).disks.map(disk => disk.bitmap)).toEqual([undefined, 'c3', undefined]);
    expect(adaptForRedefinition(CHECKPOINT, { ...known, disks: [] }, []).disks).toEqual([]);
  });
});
