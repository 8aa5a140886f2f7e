import type { QemuBitmap, QemuDevice, QemuGraph, QemuNode } from '#nbdelta/hypervisor/qmp/qemu-state.js';

export function sampleNode(name: string, change: Partial<QemuNode> = {}): QemuNode {
  return {
    'node-name': name,
    drv: 'qcow2',
    ro: false,
    file: `/images/${name}.qcow2`,
    image: { 'virtual-size': 1 << 20, 'format-specific': { type: 'qcow2', data: { compat: '1.1' } } },
    'dirty-bitmaps': [],
    ...change,
  };
}

export function sampleBitmap(name: string, change: Partial<QemuBitmap> = {}): QemuBitmap {
  return {
    name,
    granularity: 65_536,
    recording: true,
    busy: false,
    persistent: true,
    inconsistent: false,
    ...change,
  };
}

export function sampleDevice(node: string | undefined, change: Partial<QemuDevice> = {}): QemuDevice {
  const inserted = node === undefined ? undefined : { 'node-name': node };
  return { device: '', removable: false, ...(inserted === undefined ? {} : { inserted }), ...change };
}

/** A graph of `parent -name-> child` lines. */
export function sampleGraph(...edges: readonly (readonly [string, string, string])[]): QemuGraph {
  const names = [...new Set(edges.flatMap(([parent, , child]) => [parent, child]))];
  return {
    nodes: names.map((name, id) => ({ id, type: 'block-driver', name })),
    edges: edges.map(([parent, name, child]) => ({
      parent: names.indexOf(parent),
      child: names.indexOf(child),
      name,
    })),
  };
}
