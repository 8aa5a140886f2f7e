/** The QMP front-end against real QEMU: what its exports show, and what is left of its runs. */

import { mkdir, readdir, readFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { QmpFrontEnd } from '#nbdelta/hypervisor/qmp/qmp-front-end.js';
import { newRunName } from '#nbdelta/hypervisor/run-name.js';
import type { SessionRecord } from '#nbdelta/hypervisor/session-record.js';
import { parseSource } from '#nbdelta/hypervisor/source.js';
import { DiskModel } from '../support/disk-model.js';
import { beginRequest, keptJournal, TEST_OWNER } from '../support/front-end-requests.js';
import { nbdcopy, nbdinfoMap } from '../support/nbd-tools.js';
import { describeWith } from '../support/peers.js';
import { waitFor } from '../support/processes.js';
import { createQcow2 } from '../support/qcow2-image.js';
import { qemuFootprint } from '../support/qemu-footprint.js';
import { diskNode, type QemuSystem, startQemuSystem } from '../support/qemu-system.js';
import { SeededRandom } from '../support/random.js';
import { expectSameBytes } from '../support/restore-check.js';
import { type TempFolder, tempFolder } from '../support/temp-folder.js';

const MIB = 2 ** 20;
const SIZE = 8 * MIB;
const DISKS = ['vda', 'vdb'] as const;
type Disk = (typeof DISKS)[number];

describeWith(['qemu-system-x86_64', 'qemu-img', 'stdbuf', 'nbdcopy', 'nbdinfo'], 'QMP front-end', () => {
  let folder: TempFolder;
  let guest: QemuSystem;
  let frontEnd: QmpFrontEnd;
  const models = {
    vda: new DiskModel({ size: SIZE, seed: 51 }),
    vdb: new DiskModel({ size: SIZE, seed: 52 }),
  };
  const random = new SeededRandom(53);

  const open = () =>
    new QmpFrontEnd([{ disk: undefined, source: parseSource(`qmp:${guest.qmpSocket}`) }], {
      scratch: folder.file('scratch'),
      socketDir: folder.file('sockets'),
      scratchReserve: MIB,
    });

  beforeAll(async () => {
    folder = await tempFolder();
    await mkdir(folder.file('scratch'));
    for (const disk of DISKS) await createQcow2(folder.file(`${disk}.qcow2`), SIZE);
    guest = await startQemuSystem({
      disks: DISKS.map(name => ({ name, image: folder.file(`${name}.qcow2`) })),
    });
    frontEnd = open();
  });
  afterAll(async () => {
    await frontEnd[Symbol.asyncDispose]();
    await guest[Symbol.asyncDispose]();
    await folder[Symbol.asyncDispose]();
  });

  async function write(disk: Disk, count: number): Promise<void> {
    for (let step = 0; step < count; step++) {
      const offset = 512 * random.below(SIZE / 512 - 1);
      const length = Math.min(SIZE - offset, 512 * (1 + random.below(600)));
      const operation =
        random.below(4) === 0
          ? ({ kind: 'zero', offset, length, unmap: false } as const)
          : ({ kind: 'fill', offset, length, byte: 1 + random.below(255) } as const);
      models[disk].apply(operation);
      await guest.qemuIo(DiskModel.commandOf(operation, ''), disk);
    }
  }
  const writeAll = async (count: number) => {
    for (const disk of DISKS) await write(disk, count);
  };
  const frozen = () => ({ vda: Buffer.from(models.vda.content), vdb: Buffer.from(models.vdb.content) });

  async function readExport(record: SessionRecord, disk: Disk): Promise<Buffer> {
    const path = folder.file('copied');
    await nbdcopy(record.disks.find(({ name }) => name === diskNode(disk))!.uri, path);
    return readFile(path);
  }

  /** The older content with the parts that the bitmap calls dirty taken from the export: what an incremental makes. */
  async function addDirty(record: SessionRecord, disk: Disk, older: Buffer): Promise<Buffer> {
    const { uri, bitmap } = record.disks.find(({ name }) => name === diskNode(disk))!;
    const exported = await readExport(record, disk);
    const content = Buffer.from(older);
    for (const { offset, length, type } of await nbdinfoMap(uri, `qemu:dirty-bitmap:${bitmap}`)) {
      if ((type & 1) !== 0) exported.copy(content, offset, offset, offset + length);
    }
    return content;
  }

  const filesLeft = async () => [
    ...(await readdir(folder.file('scratch'))),
    ...(await readdir(folder.file('sockets')).catch(() => [])),
  ];

  it('describes the guest', async () => {
    const found = await frontEnd.inspect({ exclude: ['disk-vdb'] });
    expect(found).toMatchObject({ kind: 'qmp', name: 'qmp', id: null, state: 'paused' });
    expect(found.disks).toEqual([
      {
        name: 'disk-vda',
        size: SIZE,
        format: 'qcow2',
        source: folder.file('vda.qcow2'),
        noBitmap: null,
      },
    ]);
    expect(found.skipped).toMatchObject([{ name: 'disk-vdb', reason: { code: 'excluded' } }]);
    expect(found.versions['qemu']).toMatch(/^\d+\.\d+\.\d+$/);
  });

  it('shows each point as the disks were at its instant, whatever the guest writes meanwhile', async () => {
    const committed: string[] = [];
    let older: ReturnType<typeof frozen> | undefined;
    for (let round = 0; round < 3; round++) {
      await writeAll(12);
      const { records, journal } = keptJournal();
      // Names tell the time in seconds, and the order of checkpoints by it.
      const run = newRunName(TEST_OWNER, new Date(Date.UTC(2026, 0, 1 + round))).text;
      const record = await frontEnd.begin(beginRequest({ run, bases: committed.toReversed(), journal }));
      const contents = frozen();
      expect(records.map(({ state }) => state)).toEqual(['planned', 'running']);
      expect(record.since).toBe(committed.at(-1) ?? null);
      await Promise.all([writeAll(8), readExport(record, 'vda')]);
      for (const disk of DISKS) {
        expectSameBytes(await readExport(record, disk), contents[disk], `${disk} of point ${round}`);
        if (older === undefined) continue;
        expectSameBytes(await addDirty(record, disk, older[disk]), contents[disk], `${disk}, incremental`);
      }
      await frontEnd.health(record);
      const actions = await frontEnd.end(record, 'commit');
      expect(actions.map(({ what }) => what)).not.toContain('left');
      await expect(frontEnd.health(record)).rejects.toMatchObject({ code: 'JOB_LOST' });
      committed.push(record.run);
      older = contents;
      expect(await frontEnd.listCheckpoints()).toEqual(committed);
    }
    const dropped = await frontEnd.dropCheckpoints([...committed.slice(0, 2), 'not-there']);
    expect(dropped.map(({ what, name }) => `${what} ${name}`).sort()).toEqual(
      committed
        .slice(0, 2)
        .flatMap(name => [name, name])
        .map(name => `bitmap-removed ${name}`)
        .sort(),
    );
    expect(await frontEnd.listCheckpoints()).toEqual(committed.slice(2));
    expect(await filesLeft()).toEqual([]);
  });

  it('leaves nothing of an aborted run, when another process ends it, and when it is ended twice', async () => {
    const before = await qemuFootprint(guest.qmp);
    const record = await frontEnd.begin(beginRequest());
    expect(await qemuFootprint(guest.qmp)).not.toEqual(before);
    await frontEnd[Symbol.asyncDispose]();
    const other = open();
    const text = JSON.stringify(record);
    const actions = await other.end(JSON.parse(text) as SessionRecord, 'abort');
    expect(new Set(actions.map(({ what }) => what))).toEqual(
      new Set([
        'export-removed',
        'server-stopped',
        'job-ended',
        'node-removed',
        'bitmap-removed',
        'file-removed',
      ]),
    );
    expect(await qemuFootprint(guest.qmp)).toEqual(before);
    expect(await filesLeft()).toEqual([]);
    expect(await other.end(record, 'abort')).toEqual([]);
    await other[Symbol.asyncDispose]();
    frontEnd = open();
  });

  it('calls a job lost that somebody else cancelled, at once and for ever', async () => {
    const record = await frontEnd.begin(beginRequest());
    const trouble: Error[] = [];
    using _watch = frontEnd.watch(record, error => trouble.push(error));
    await frontEnd.health(record);
    await guest.qmp.execute('job-cancel', { id: `${record.run}-disk-vdb` });
    await waitFor(() => trouble.length > 0, 'the watch');
    expect(trouble).toMatchObject([{ code: 'JOB_LOST', message: expect.stringContaining('disk-vdb') }]);
    await expect(frontEnd.health(record)).rejects.toMatchObject({ code: 'JOB_LOST' });
    await frontEnd.end(record, 'abort');
    expect(trouble).toHaveLength(1);
  });

  it.each([
    ['an export', { type: 'nbd', id: 'others' }],
    ['no export', undefined],
  ])("refuses when somebody else's NBD server runs with %s, and leaves it alone", async (_, found) => {
    const addr = { type: 'unix', data: { path: folder.file('others.sock') } };
    await guest.qmp.execute('nbd-server-start', { addr });
    if (found !== undefined) {
      await guest.qmp.execute('block-export-add', { ...found, 'node-name': 'disk-vda', name: 'other' });
    }
    const before = await qemuFootprint(guest.qmp);
    const { records, journal } = keptJournal();
    const begun = frontEnd.begin(beginRequest({ journal }));
    await expect(begun).rejects.toMatchObject({ code: 'JOB_CONFLICT' });
    expect(await frontEnd.end(records[0]!, 'abort')).toEqual([]);
    expect(await qemuFootprint(guest.qmp)).toEqual(before);
    expect(await filesLeft()).toEqual([]);
    if (found !== undefined) {
      await guest.qmp.execute('block-export-del', { id: 'others', mode: 'hard' });
      await guest.qmp.event('BLOCK_EXPORT_DELETED');
    }
    // It would be refused if ours had stopped it.
    await guest.qmp.execute('nbd-server-stop');
  });

  it("refuses where somebody else's job or bitmap is in the way, and touches neither", async () => {
    const request = beginRequest();
    const bitmap = { node: 'disk-vdb', name: request.run };
    await guest.qmp.execute('block-dirty-bitmap-add', bitmap);
    const before = await qemuFootprint(guest.qmp);
    await expect(frontEnd.begin(request)).rejects.toMatchObject({
      code: 'JOB_CONFLICT',
      message: expect.stringContaining('Bitmap already exists'),
    });
    expect(await qemuFootprint(guest.qmp)).toEqual(before);
    await guest.qmp.execute('block-dirty-bitmap-remove', bitmap);

    await createQcow2(folder.file('mirror.qcow2'), SIZE);
    const mirror = {
      device: 'disk-vdb',
      target: folder.file('mirror.qcow2'),
      sync: 'full',
      mode: 'existing',
    };
    await guest.qmp.execute('drive-mirror', { ...mirror, 'job-id': 'mirror' });
    const mirroring = await qemuFootprint(guest.qmp);
    await expect(frontEnd.begin(beginRequest())).rejects.toMatchObject({ code: 'JOB_CONFLICT' });
    expect(await qemuFootprint(guest.qmp)).toEqual(mirroring);
    expect(await filesLeft()).toEqual([]);
    await guest.qmp.execute('job-cancel', { id: 'mirror' });
    await guest.qmp.event('JOB_STATUS_CHANGE', data => data['id'] === 'mirror' && data['status'] === 'null');
  });

  it('sweeps what a dead run left, and nothing else', async () => {
    const dead = await frontEnd.begin(beginRequest());
    const foreign = 'nbdelta-00000000-20260101T000000Z-00000000';
    await guest.qmp.execute('block-dirty-bitmap-add', { node: 'disk-vda', name: foreign });
    await guest.qmp.execute('block-dirty-bitmap-add', { node: 'disk-vda', name: 'monday' });
    const keep = (await frontEnd.listCheckpoints())
      .filter(name => name !== dead.run)
      .map(name => ({ name, definition: undefined }));
    const alive = { owner: TEST_OWNER, keep, isAlive: (run: string) => run === dead.run };
    expect(await frontEnd.sweep(alive)).toEqual([]);
    await frontEnd.health(dead);
    const actions = await frontEnd.sweep({ ...alive, isAlive: () => false });
    expect(actions.filter(({ what }) => what === 'job-ended')).toHaveLength(2);
    expect(actions.filter(({ what }) => what === 'bitmap-removed').map(({ name }) => name)).toEqual([
      dead.run,
      dead.run,
    ]);
    const left = await qemuFootprint(guest.qmp);
    expect(left).toMatchObject({ jobs: [], exports: [] });
    expect(left.bitmaps).toContain(`disk-vda: ${foreign}`);
    expect(left.bitmaps).toContain('disk-vda: monday');
    expect(left.nodes.filter(name => name.startsWith('nbdelta-'))).toEqual([]);
    expect(await filesLeft()).toEqual([]);
    // The server is gone, too: another one can be started.
    await guest.qmp.execute('nbd-server-start', {
      addr: { type: 'unix', data: { path: folder.file('others.sock') } },
    });
    await guest.qmp.execute('nbd-server-stop');
    for (const name of [foreign, 'monday']) {
      await guest.qmp.execute('block-dirty-bitmap-remove', { node: 'disk-vda', name });
    }
  });

  it('reads a disk that was resized since its base', async () => {
    const first = await frontEnd.begin(beginRequest());
    await frontEnd.end(first, 'commit');
    await guest.qmp.execute('block_resize', { 'node-name': 'disk-vdb', size: 2 * SIZE });
    await guest.qemuIo(`write -P 77 ${SIZE + MIB} 64k`, 'vdb');
    const second = await frontEnd.begin(beginRequest({ bases: [first.run] }));
    const { uri, bitmap, size } = second.disks.find(({ name }) => name === 'disk-vdb')!;
    expect(size).toBe(2 * SIZE);
    const dirty = (await nbdinfoMap(uri, `qemu:dirty-bitmap:${bitmap}`)).filter(({ type }) => type === 1);
    expect(dirty.some(({ offset, length }) => offset <= SIZE + MIB && offset + length > SIZE + MIB)).toBe(
      true,
    );
    const content = await readExport(second, 'vdb');
    expect(content.subarray(0, SIZE).equals(models.vdb.content)).toBe(true);
    expect(content.subarray(SIZE + MIB, SIZE + MIB + 65_536).every(byte => byte === 77)).toBe(true);
    await frontEnd.end(second, 'commit');
  });

  it('says which disk has no base any more, and reads that one as a whole', async () => {
    const base = await frontEnd.begin(beginRequest());
    await frontEnd.end(base, 'commit');
    await guest.qmp.execute('block-dirty-bitmap-remove', { node: 'disk-vda', name: base.run });
    const record = await frontEnd.begin(beginRequest({ bases: [base.run] }));
    expect(record.since).toBe(base.run);
    expect(record.disks).toMatchObject([
      { name: 'disk-vda', bitmap: null, reason: { code: 'bitmap-missing' } },
      { name: 'disk-vdb', bitmap: 'backup-disk-vdb', reason: null },
    ]);
    await frontEnd.end(record, 'abort');
  });
});
