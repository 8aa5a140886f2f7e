import { describe, expect, it } from 'vitest';
import type { DomainDisk } from '#nbdelta/hypervisor/libvirt/domain-xml.js';
import { noBitmapReason, selectDisks } from '#nbdelta/hypervisor/libvirt/plan-disks.js';

function disk(target: string, changes: Partial<DomainDisk> = {}): DomainDisk {
  return {
    ...{ target, type: 'file', device: 'disk', format: 'qcow2', source: `/${target}`, path: `/${target}` },
    ...{
      isReadonly: false,
      isShareable: false,
      isTransient: false,
      inIoThread: false,
      encryption: undefined,
    },
    ...changes,
  };
}

const ALL = [
  disk('vda'),
  disk('vdb', { format: 'raw' }),
  disk('sda', { device: 'cdrom' }),
  disk('vdc', { source: undefined }),
  disk('sdb', { device: 'lun', format: 'raw' }),
  disk('vdd', { isReadonly: true }),
];

describe('selectDisks', () => {
  const names = (selection: Parameters<typeof selectDisks>[1]) => {
    const { disks, skipped } = selectDisks(ALL, selection);
    return [disks.map(each => each.target), skipped.map(each => `${each.name} ${each.reason.code}`)];
  };

  it('takes hard disks with a source', () => {
    expect(names({})).toEqual([
      ['vda', 'vdb', 'sdb'],
      ['sda cdrom', 'vdc empty', 'vdd readonly'],
    ]);
  });

  it('does as it is told', () => {
    expect(names({ include: ['vdb'] })[0]).toEqual(['vdb']);
    expect(names({ exclude: ['vdb', 'sda'] })[0]).toEqual(['vda', 'sdb']);
  });

  it('refuses disks that are not there, cannot be, or none', () => {
    const usage = (hint: unknown) => expect.objectContaining({ code: 'USAGE', hint });
    expect(() => names({ include: ['vdz'] })).toThrow(usage(expect.stringContaining('vda, vdb')));
    expect(() => names({ exclude: ['vdz'] })).toThrow('vdz');
    expect(() => names({ include: ['sda'] })).toThrow('cdrom');
    expect(() => names({ exclude: ['vda', 'vdb', 'sdb'] })).toThrow('no disk is left');
  });
});

it('says why a disk keeps no bitmap', () => {
  expect(noBitmapReason(disk('vda'))).toBeNull();
  expect(noBitmapReason(disk('vda', { format: 'raw' }))?.code).toBe('no-persistent-bitmap');
  expect(noBitmapReason(disk('vda', { isTransient: true }))?.code).toBe('no-persistent-bitmap');
});
