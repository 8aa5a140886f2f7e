import { describe, expect, it } from 'vitest';
import { findDisks } from '#nbdelta/hypervisor/qmp/block-devices.js';
import { jobActions } from '#nbdelta/hypervisor/qmp/job-transaction.js';
import { diskNames, isNodeOf, isOf, isOurNode } from '#nbdelta/hypervisor/qmp/names.js';
import { planJob } from '#nbdelta/hypervisor/qmp/plan-job.js';
import type { QemuBitmap, QemuNode } from '#nbdelta/hypervisor/qmp/qemu-state.js';
import { newRunName } from '#nbdelta/hypervisor/run-name.js';
import { sampleBitmap, sampleDevice, sampleGraph, sampleNode } from './sample-nodes.js';

const RUN = newRunName('0123abcd', new Date('2026-11-23T12:00:00Z'));

function disksOf(...nodes: readonly QemuNode[]) {
  const devices = nodes.map(node => sampleDevice(node['node-name']));
  return findDisks({ devices, nodes, graph: sampleGraph(), isDaemon: false }).disks;
}

function plan(disks: ReturnType<typeof disksOf>, bases: readonly string[], checkpoint = true) {
  return planJob(disks, {
    run: RUN,
    checkpoint,
    bases: bases.map(name => ({ name, definition: undefined })),
  });
}

const withBitmaps = (name: string, ...bitmaps: readonly QemuBitmap[]) =>
  sampleNode(name, { 'dirty-bitmaps': [...bitmaps] });

describe('planJob', () => {
  it('takes the newest base that a disk still has, for all of them', () => {
    const disks = disksOf(
      withBitmaps('vda', sampleBitmap('old'), sampleBitmap('mid')),
      withBitmaps('vdb', sampleBitmap('old')),
    );
    const planned = plan(disks, ['new', 'mid', 'old']);
    expect(planned.since).toBe('mid');
    expect(planned.disks.map(({ base, reason }) => [base?.name, reason?.code])).toEqual([
      ['mid', undefined],
      [undefined, 'bitmap-missing'],
    ]);
  });

  it('reads everything without bases, and gives no reason', () => {
    const planned = plan(disksOf(withBitmaps('vda', sampleBitmap('old'))), []);
    expect(planned).toMatchObject({ since: null, disks: [{ reason: null }] });
    expect(planned.disks[0]?.base).toBeUndefined();
  });

  it.each([
    [{ inconsistent: true, recording: false }, 'bitmap-inconsistent'],
    [{ recording: false }, 'bitmap-unusable'],
    [{ busy: true }, 'bitmap-unusable'],
    [{ persistent: false }, 'bitmap-unusable'],
  ])('takes no base that is %j', (change, code) => {
    const planned = plan(disksOf(withBitmaps('vda', sampleBitmap('old', change))), ['old']);
    expect(planned).toMatchObject({ since: null, disks: [{ reason: { code } }] });
  });

  it('begins a bitmap where one can be kept, and only when asked to', () => {
    const disks = disksOf(sampleNode('vda'), sampleNode('vdb', { drv: 'raw' }));
    expect(plan(disks, []).disks.map(({ checkpoint }) => checkpoint)).toEqual([true, false]);
    expect(plan(disks, [], false).disks.map(({ checkpoint }) => checkpoint)).toEqual([false, false]);
    expect(plan(disks, ['old']).disks[1]?.reason?.code).toBe('no-persistent-bitmap');
  });
});

describe('jobActions', () => {
  it('stops the requests of all disks before the first bitmap begins or is copied', () => {
    const disks = disksOf(withBitmaps('vda', sampleBitmap('old', { granularity: 4096 })), sampleNode('vdb'));
    const actions = jobActions(plan(disks, ['old']).disks, RUN.text);
    expect(actions.map(({ type }) => type)).toEqual([
      ...['blockdev-backup', 'blockdev-backup'],
      ...['block-dirty-bitmap-add', 'block-dirty-bitmap-add', 'block-dirty-bitmap-merge'],
      'block-dirty-bitmap-add',
    ]);
    const scratch = `nbdelta-${RUN.random}-0-scratch`;
    expect(actions.slice(2, 5).map(({ data }) => data)).toEqual([
      { node: 'vda', name: RUN.text, persistent: true },
      { node: scratch, name: 'backup-vda', granularity: 4096, disabled: true },
      { node: scratch, target: 'backup-vda', bitmaps: [{ node: 'vda', name: 'old' }] },
    ]);
  });
});

describe('names', () => {
  it('carry the run, and fit into QEMU', () => {
    const names = diskNames(RUN, 'a'.repeat(60), 999);
    for (const name of [names.scratchNode, names.scratchFileNode, names.filterNode]) {
      expect(Buffer.byteLength(name)).toBeLessThanOrEqual(31);
      expect(isNodeOf(RUN, name)).toBe(true);
      expect(isOurNode(name)).toBe(true);
    }
    for (const id of [names.job, names.export, names.createFileJob, names.createImageJob]) {
      // What QEMU calls a well-formed id.
      expect(id).toMatch(/^[A-Za-z][A-Za-z0-9._-]*$/);
      expect(isOf(RUN, id)).toBe(true);
    }
  });

  it('are not those of other runs, or of others', () => {
    const other = newRunName('0123abcd', new Date('2026-11-23T12:00:00Z'));
    expect(isOf(other, diskNames(RUN, 'vda', 0).job)).toBe(false);
    expect(isNodeOf(other, diskNames(RUN, 'vda', 0).scratchNode)).toBe(false);
    expect(isOurNode('nbdelta-mine')).toBe(false);
    expect(isOf(RUN, 'mirror')).toBe(false);
  });
});
