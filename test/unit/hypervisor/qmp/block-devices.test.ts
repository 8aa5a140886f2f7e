import { describe, expect, it } from 'vitest';
import { type BlockState, findDisks } from '#nbdelta/hypervisor/qmp/block-devices.js';
import { sampleDevice, sampleGraph, sampleNode } from './sample-nodes.js';

function state(change: Partial<BlockState>): BlockState {
  return { devices: [], nodes: [], graph: sampleGraph(), isDaemon: false, ...change };
}

describe("a guest's disks", () => {
  it.each([
    ['vda', 'dev0', 'ide0', 'vda'],
    ['#block123', '/machine/peripheral/virtio-disk0/virtio-backend', 'drive0', 'virtio-disk0'],
    ['#block123', 'scsi0-0', '', 'scsi0-0'],
    ['#block123', '/machine/peripheral-anon/device[3]/virtio-backend', 'drive0', 'drive0'],
    ['#block123', '/machine/unattached/device[3]', '', 'machine-unattached-device-3-'],
    ['#block123', undefined, 'drive0', 'drive0'],
    ['a disk/of mine', undefined, '', 'a-disk-of-mine'],
    ['..', undefined, '', 'disk'],
  ])('node %s of device %s, drive %s is called %s', (node, qdev, device, name) => {
    const devices = [sampleDevice(node, { device, ...(qdev === undefined ? {} : { qdev }) })];
    const { disks } = findDisks(state({ devices, nodes: [sampleNode(node)] }));
    expect(disks.map(disk => disk.name)).toEqual([name]);
  });

  it('that would have the same name get numbers', () => {
    const names = ['a b', 'a/b', 'a-b'];
    const { disks } = findDisks(
      state({ devices: names.map(name => sampleDevice(name)), nodes: names.map(name => sampleNode(name)) }),
    );
    expect(disks.map(({ name }) => name)).toEqual(['a-b', 'a-b-2', 'a-b-3']);
  });

  it('are found below filters, those of a running job as well', () => {
    const nodes = [
      sampleNode('throttled', { drv: 'throttle' }),
      sampleNode('nbdelta-00000000-0-filter', { drv: 'copy-before-write' }),
      sampleNode('#block1'),
      sampleNode('nbdelta-00000000-0-scratch'),
    ];
    const graph = sampleGraph(
      ['throttled', 'file', 'nbdelta-00000000-0-filter'],
      ['nbdelta-00000000-0-filter', 'target', 'nbdelta-00000000-0-scratch'],
      ['nbdelta-00000000-0-filter', 'file', '#block1'],
      ['nbdelta-00000000-0-scratch', 'backing', '#block1'],
    );
    const { disks } = findDisks(state({ devices: [sampleDevice('throttled')], nodes, graph }));
    expect(disks.map(({ name, node }) => [name, node['node-name']])).toEqual([['throttled', '#block1']]);
  });

  it('end at a filter that stands on itself or on nothing', () => {
    const nodes = [sampleNode('one', { drv: 'throttle' }), sampleNode('two', { drv: 'throttle' })];
    const graph = sampleGraph(['one', 'file', 'two'], ['two', 'file', 'one']);
    const { disks } = findDisks(state({ devices: [sampleDevice('one')], nodes, graph }));
    expect(disks).toMatchObject([{ noBitmap: { code: 'no-persistent-bitmap' } }]);
  });

  it('are not those that are removable or empty', () => {
    const devices = [
      sampleDevice(undefined, { qdev: 'cd0', removable: true }),
      sampleDevice('usb', { removable: true }),
    ];
    const { disks, skipped } = findDisks(state({ devices, nodes: [sampleNode('usb')] }));
    expect(disks).toEqual([]);
    expect(skipped).toMatchObject([
      { name: 'cd0', reason: { code: 'empty' } },
      { name: 'usb', reason: { code: 'removable' } },
    ]);
  });

  it.each([
    [sampleNode('vda'), undefined],
    [sampleNode('vda', { drv: 'raw' }), 'its format is raw'],
    [sampleNode('vda', { ro: true }), 'read-only'],
    [
      sampleNode('vda', {
        image: { 'virtual-size': 1, 'format-specific': { type: 'qcow2', data: { compat: '0.10' } } },
      }),
      'compat 0.10',
    ],
    [sampleNode('vda', { image: { 'virtual-size': 1 } }), 'compat undefined'],
  ])('keep a bitmap, or not: %#', (node, why) => {
    const [disk] = findDisks(state({ devices: [sampleDevice('vda')], nodes: [node] })).disks;
    if (why === undefined) expect(disk?.noBitmap).toBeNull();
    else expect(disk?.noBitmap).toEqual({ code: 'no-persistent-bitmap', text: expect.stringContaining(why) });
  });
});

describe("a storage daemon's disks", () => {
  it('are the formats that no format stands on', () => {
    const nodes = [
      sampleNode('top'),
      sampleNode('base', { ro: true }),
      sampleNode('file', { drv: 'file' }),
      sampleNode('raw', { drv: 'raw' }),
      sampleNode('nbdelta-00000000-0-scratch'),
      sampleNode('nbdelta-00000000-0-file', { drv: 'file' }),
    ];
    const graph = sampleGraph(
      ['top', 'file', 'file'],
      ['top', 'backing', 'base'],
      ['nbdelta-00000000-0-scratch', 'backing', 'top'],
      ['export', 'root', 'top'],
    );
    const { disks } = findDisks(state({ nodes, graph, isDaemon: true }));
    expect(disks.map(({ name }) => name)).toEqual(['top', 'raw']);
  });
});
