/** What a guest suffers from is made good, and told, with a QEMU that says whatever is needed. */

import { mkdir } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { QmpFrontEnd } from '#nbdelta/hypervisor/qmp/qmp-front-end.js';
import { newRunName } from '#nbdelta/hypervisor/run-name.js';
import type { SessionRecord } from '#nbdelta/hypervisor/session-record.js';
import { parseSource } from '#nbdelta/hypervisor/source.js';
import { waitFor } from '../../../support/processes.js';
import { type ScriptedQmp, startScriptedQmp } from '../../../support/scripted-qmp.js';
import { type TempFolder, tempFolder } from '../../../support/temp-folder.js';

const RUN = newRunName('0123abcd').text;
const JOB = `${RUN}-vda`;
const SCRATCH = 'nbdelta-00000000-0-scratch';

let folder: TempFolder;
let qemu: ScriptedQmp;
let frontEnd: QmpFrontEnd;
/** What the scripted QEMU has. */
let state: { status: string; jobs: object[]; exports: object[] };

beforeEach(async () => {
  folder = await tempFolder();
  await mkdir(folder.file('scratch'));
  state = {
    status: 'running',
    jobs: [{ id: JOB, type: 'backup', status: 'running' }],
    exports: [{ id: JOB, type: 'nbd', 'node-name': SCRATCH, 'shutting-down': false }],
  };
  qemu = await startScriptedQmp(folder.file('qmp.sock'), command => {
    if (command === 'query-status') return { status: state.status };
    if (command === 'query-jobs') return state.jobs;
    if (command === 'query-block-exports') return state.exports;
    if (command === 'query-named-block-nodes') return [];
    if (command === 'block-export-del') state.exports = [];
    if (command === 'job-cancel') state.jobs = [{ id: JOB, type: 'backup', status: 'concluded' }];
    if (command === 'job-dismiss') state.jobs = [];
    return {};
  });
  frontEnd = new QmpFrontEnd([{ disk: undefined, source: parseSource(`qmp:${qemu.path}`) }], {});
});
afterEach(async () => {
  await frontEnd[Symbol.asyncDispose]();
  await qemu[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

function recordOf(
  change: { readonly guestRan?: boolean; readonly scratchReserve?: number } = {},
): SessionRecord {
  return {
    ...{ version: 1, run: RUN, kind: 'qmp', sources: [`qmp:${qemu.path}`], connect: null, warnings: [] },
    ...{ guest: { name: 'web1', id: null }, startedAt: '2026-11-23T12:00:00.000Z', state: 'running' },
    ...{ checkpoint: RUN, since: null, disks: [] },
    details: {
      qmpSocket: qemu.path,
      server: { kind: 'unix', folder: folder.file('sockets'), socket: folder.file('sockets', 's') },
      scratchFolder: folder.file('scratch'),
      scratchReserve: 0,
      guestRan: true,
      disks: [{ name: 'vda', job: JOB, export: JOB, scratchNode: SCRATCH }],
      ...change,
    },
  } as SessionRecord;
}

describe('the end of a job', () => {
  it.each([
    ['io-error', true, true],
    ['io-error', false, false],
    ['paused', true, false],
    ['running', true, false],
  ])('of a guest that is %s now and ran before: %s, lets it go on: %s', async (status, guestRan, resumed) => {
    state.status = status;
    const actions = await frontEnd.end(recordOf({ guestRan }), 'commit');
    expect(actions.some(({ what }) => what === 'guest-resumed')).toBe(resumed);
    const order = ['block-export-del', 'nbd-server-stop', 'job-cancel', 'job-dismiss'];
    // Only when its job is gone: the write would fail again.
    expect(qemu.commands).toEqual(resumed ? [...order, 'cont'] : order);
  });
});

describe('health', () => {
  it.each([
    ['a job that is gone', { jobs: [] }, 'no job'],
    [
      'a job that ended',
      { jobs: [{ id: JOB, type: 'backup', status: 'concluded', error: 'Why' }] },
      'concluded (Why)',
    ],
    ['a job of another kind', { jobs: [{ id: JOB, type: 'mirror', status: 'running' }] }, 'running'],
    ['an export that is gone', { exports: [] }, 'no export'],
    [
      'an export of another node',
      { exports: [{ id: JOB, type: 'nbd', 'node-name': 'vda', 'shutting-down': false }] },
      'node vda',
    ],
    [
      'an export that ends',
      { exports: [{ id: JOB, type: 'nbd', 'node-name': SCRATCH, 'shutting-down': true }] },
      'being removed',
    ],
  ])('refuses %s', async (_, change, text) => {
    await frontEnd.health(recordOf());
    Object.assign(state, change);
    await expect(frontEnd.health(recordOf())).rejects.toMatchObject({
      code: 'JOB_LOST',
      message: expect.stringContaining(text),
    });
  });

  it('accepts a job that is paused: its filter goes on copying', async () => {
    state.jobs = [{ id: JOB, type: 'backup', status: 'paused' }];
    await frontEnd.health(recordOf());
  });

  it('refuses a record of something else', async () => {
    const other = { ...recordOf(), details: {} };
    await expect(frontEnd.health(other)).rejects.toMatchObject({ code: 'HYPERVISOR_FAILED' });
  });
});

describe('a watch', () => {
  async function watched(change: Parameters<typeof recordOf>[0], act: () => void): Promise<readonly Error[]> {
    const told: Error[] = [];
    using _watch = frontEnd.watch(recordOf(change), error => told.push(error));
    await frontEnd.health(recordOf(change));
    act();
    await waitFor(() => told.length > 0, 'the watch');
    // Nothing more comes: it is over.
    qemu.emit('JOB_STATUS_CHANGE', { id: JOB, status: 'null' });
    await frontEnd.listCheckpoints();
    return told;
  }

  it('tells once that the job ended', async () => {
    const told = await watched({}, () => {
      state.jobs = [];
      qemu.emit('JOB_STATUS_CHANGE', { id: JOB, status: 'concluded' });
      qemu.emit('BLOCK_EXPORT_DELETED', { id: JOB });
    });
    expect(told).toMatchObject([{ code: 'JOB_LOST' }]);
  });

  it('tells that QEMU is not heard any more', async () => {
    const told: Error[] = [];
    using _watch = frontEnd.watch(recordOf(), error => told.push(error));
    await frontEnd.health(recordOf());
    await qemu[Symbol.asyncDispose]();
    await waitFor(() => told.length > 0, 'the watch');
    expect(told).toMatchObject([
      { code: 'JOB_LOST', message: expect.stringContaining('not heard any more') },
    ]);
  });

  it('tells that less than the reserve is free', async () => {
    const told = await watched({ scratchReserve: 2 ** 52 }, () => undefined);
    expect(told).toMatchObject([{ code: 'SCRATCH_FULL' }]);
  });

  it('is silent when disposed, and about the jobs of others', async () => {
    const told: Error[] = [];
    const watch = frontEnd.watch(recordOf(), error => told.push(error));
    await frontEnd.health(recordOf());
    qemu.emit('JOB_STATUS_CHANGE', { id: 'mirror', status: 'concluded' });
    await frontEnd.health(recordOf());
    watch[Symbol.dispose]();
    state.jobs = [];
    qemu.emit('JOB_STATUS_CHANGE', { id: JOB, status: 'concluded' });
    await frontEnd.listCheckpoints();
    expect(told).toEqual([]);
  });
});
