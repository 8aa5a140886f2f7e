import type { GuestDisk, Reason } from '../front-end.js';
import { isOurNode } from './names.js';
import type { QemuDevice, QemuGraph, QemuNode } from './qemu-state.js';
import { describeSource } from './source-description.js';

/** A disk and the node that its bitmaps and its backup job belong to. */
export interface QemuDisk extends GuestDisk {
  readonly node: QemuNode;
  /** QOM path of the guest's device; `undefined` in qemu-storage-daemon. */
  readonly qdev: string | undefined;
}

export interface QemuDisks {
  readonly disks: readonly QemuDisk[];
  readonly skipped: readonly { readonly name: string; readonly reason: Reason }[];
}

export interface BlockState {
  readonly devices: readonly QemuDevice[];
  readonly nodes: readonly QemuNode[];
  readonly graph: QemuGraph;
  /** Whether it is a qemu-storage-daemon: then there are no devices, and nodes that nobody stands on are the disks. */
  readonly isDaemon: boolean;
}

/** Nodes that only pass on what is below them; a persistent bitmap cannot live in one. */
const FILTERS = new Set([
  ...['backup-top', 'blkdebug', 'blklogwrites', 'blkverify', 'commit_top', 'compress', 'copy-before-write'],
  ...['copy-on-read', 'mirror_top', 'preallocate', 'replication', 'snapshot-access', 'throttle'],
]);

/** Node drivers that are image formats; the others reach for the bytes of one. */
const FORMATS = new Set([
  ...[
    'qcow2',
    'raw',
    'qed',
    'qcow',
    'vmdk',
    'vdi',
    'vpc',
    'vhdx',
    'luks',
    'parallels',
    'bochs',
    'cloop',
    'dmg',
  ],
]);

/** The disks of a guest, or of a storage daemon. */
export function findDisks(state: BlockState): QemuDisks {
  const below = childrenBelow(state);
  return state.isDaemon ? daemonDisks(state) : deviceDisks(state, below);
}

type Below = (name: string) => string | undefined;

/** The node that a filter stands on. */
function childrenBelow({ graph }: BlockState): Below {
  const names = new Map(graph.nodes.map(({ id, name }) => [id, name]));
  const below = new Map<string, string>();
  for (const { parent, child, name } of graph.edges) {
    const [from, to] = [names.get(parent), names.get(child)];
    // A filter's data is its `file`, or its `backing` (commit_top, mirror_top); `target` is another disk.
    if (
      from !== undefined &&
      to !== undefined &&
      (name === 'file' || (name === 'backing' && !below.has(from)))
    ) {
      below.set(from, to);
    }
  }
  return name => below.get(name);
}

function deviceDisks(state: BlockState, below: Below): QemuDisks {
  const nodes = new Map(state.nodes.map(node => [node['node-name'], node]));
  const disks: QemuDisk[] = [];
  const skipped: { name: string; reason: Reason }[] = [];
  for (const device of state.devices) {
    const path = nodesBelow(device.inserted?.['node-name'], nodes, below);
    const node = path.at(-1);
    const name = diskName([...path].reverse(), device);
    if (node === undefined) skipped.push({ name, reason: { code: 'empty', text: `${name} has no medium` } });
    else if (device.removable) {
      skipped.push({ name, reason: { code: 'removable', text: `${name} is a removable medium` } });
    } else disks.push(describeDisk(name, node, device.qdev));
  }
  return { disks: withOwnNames(disks), skipped };
}

/** From the device's node down through the filters to the first that is none. */
function nodesBelow(
  top: string | undefined,
  nodes: ReadonlyMap<string, QemuNode>,
  below: Below,
): readonly QemuNode[] {
  const path: QemuNode[] = [];
  let node = top === undefined ? undefined : nodes.get(top);
  while (node !== undefined && !path.includes(node)) {
    path.push(node);
    if (!FILTERS.has(node.drv)) break;
    node = nodes.get(below(node['node-name']) ?? '');
  }
  return path;
}

/** Formats that no other node stands on: not the backing files, nor what a raw node with an offset cuts from. */
function daemonDisks({ nodes, graph }: BlockState): QemuDisks {
  const byId = new Map(graph.nodes.map(node => [node.id, node]));
  const formats = new Map(nodes.map(node => [node['node-name'], FORMATS.has(node.drv)]));
  const isUsed = (name: string) =>
    graph.edges.some(({ parent, child }) => {
      const user = byId.get(parent)?.name ?? '';
      return byId.get(child)?.name === name && formats.get(user) === true && !isOurNode(user);
    });
  const disks = nodes
    .filter(node => FORMATS.has(node.drv) && !isOurNode(node['node-name']) && !isUsed(node['node-name']))
    .map(node => describeDisk(diskName([node], undefined), node, undefined));
  return { disks: withOwnNames(disks), skipped: [] };
}

/** What the user called it: the node, else the device, else the drive. QEMU's own `#block123` changes each time. */
function diskName(nodes: readonly QemuNode[], device: QemuDevice | undefined): string {
  const given = nodes.map(node => node['node-name']).find(name => !name.startsWith('#') && !isOurNode(name));
  const drive = device?.device === '' ? undefined : device?.device;
  return sanitize(given ?? deviceId(device?.qdev) ?? drive ?? device?.qdev ?? nodes[0]?.['node-name'] ?? '');
}

/** The id of `-device …,id=ID`: `/machine/peripheral/ID/virtio-backend`, or ID alone. */
function deviceId(qdev: string | undefined): string | undefined {
  if (qdev === undefined || !qdev.startsWith('/')) return qdev;
  return /^\/machine\/peripheral\/([^/]+)/.exec(qdev)?.[1];
}

/** Names end up as files and in the ids of jobs. */
function sanitize(name: string): string {
  return (
    name
      .replace(/[^A-Za-z0-9._-]+/g, '-')
      .replace(/^[^A-Za-z0-9]+/, '')
      .slice(0, 60) || 'disk'
  );
}

/** Two names that became the same one get numbers. */
function withOwnNames(disks: readonly QemuDisk[]): readonly QemuDisk[] {
  const seen = new Map<string, number>();
  return disks.map(disk => {
    const count = (seen.get(disk.name) ?? 0) + 1;
    seen.set(disk.name, count);
    return count === 1 ? disk : { ...disk, name: `${disk.name}-${count}` };
  });
}

function describeDisk(name: string, node: QemuNode, qdev: string | undefined): QemuDisk {
  return {
    name,
    size: node.image['virtual-size'],
    format: node.drv,
    source: describeSource(node.file),
    noBitmap: whyNoBitmap(name, node),
    node,
    qdev,
  };
}

/** Only qcow2 version 3 stores bitmaps; QEMU takes one on a read-only node as well, and then cannot store it. */
function whyNoBitmap(name: string, node: QemuNode): Reason | null {
  const because = (what: string): Reason => ({
    code: 'no-persistent-bitmap',
    text: `disk ${name} cannot keep a bitmap: ${what}`,
  });
  if (node.drv !== 'qcow2') return because(`its format is ${node.drv}, not qcow2`);
  const compat = node.image['format-specific']?.data?.['compat'];
  if (compat !== '1.1') return because(`it is a qcow2 of version 2 (compat ${String(compat)}), not 3 (1.1)`);
  if (node.ro) return because('it is read-only');
  return null;
}
