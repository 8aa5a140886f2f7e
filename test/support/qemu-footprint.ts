import type { QmpObject, TestQmp } from './qmp.js';

/** Everything in a QEMU that a job could leave behind; two of these are equal when nothing was. */
export interface QemuFootprint {
  readonly jobs: readonly string[];
  readonly exports: readonly string[];
  readonly nodes: readonly string[];
  /** `node: bitmap` */
  readonly bitmaps: readonly string[];
  /** What the guest's devices stand on. */
  readonly roots: readonly string[];
}

export async function qemuFootprint(qmp: TestQmp): Promise<QemuFootprint> {
  const ask = async (command: string, options = {}) =>
    (await qmp.execute(command, options)) as readonly QmpObject[];
  const nodes = await ask('query-named-block-nodes', { flat: true });
  const devices = await ask('query-block');
  const nameOf = (object: unknown) => String((object as QmpObject | undefined)?.['node-name']);
  return {
    jobs: (await ask('query-jobs')).map(job => String(job['id'])).sort(),
    exports: (await ask('query-block-exports')).map(found => String(found['id'])).sort(),
    nodes: nodes.map(nameOf).sort(),
    bitmaps: nodes.flatMap(bitmapsOf).sort(),
    roots: devices.map(device => `${String(device['qdev'])}: ${nameOf(device['inserted'])}`).sort(),
  };
}

function bitmapsOf(node: QmpObject): readonly string[] {
  const bitmaps = (node['dirty-bitmaps'] ?? []) as readonly QmpObject[];
  return bitmaps.map(bitmap => `${String(node['node-name'])}: ${String(bitmap['name'])}`);
}
