import { nbdUri } from './nbd-server-handle.js';
import { runOk } from './processes.js';
import type { QemuSystem } from './qemu-system.js';
import type { QmpObject } from './qmp.js';

export interface PullBackupOptions {
  /** Name of the bitmap that starts recording with this backup. */
  readonly checkpoint: string;
  /** Bitmap of an earlier checkpoint: makes the backup incremental. */
  readonly since?: string;
}

export interface PullExport {
  readonly disk: string;
  readonly uri: string;
  /** Bitmap of the export (`backup-vda`), undefined in a full. */
  readonly bitmap: string | undefined;
}

/** A running pull-mode backup; `end` (and `await using`) tears it down in the order that never shows live data. */
export interface PullBackup extends AsyncDisposable {
  readonly exports: readonly PullExport[];
  /** URI and bitmap of the first disk. */
  readonly uri: string;
  readonly bitmap: string | undefined;
  readonly socket: string;
  /** The QEMU job of a disk. */
  jobOf(disk: string): string;
  /** Exports removed, jobs cancelled and dismissed; the server stays until `end`, as clients may be at it. Safe twice. */
  cancel(): Promise<void>;
  /** `cancel`, then server and scratch removed; to be called when no client connects any more. Safe twice. */
  end(): Promise<void>;
}

/** Names in QEMU of what one disk's backup consists of. */
function namesOf(disk: string) {
  return {
    node: `disk-${disk}`,
    scratch: `scratch-${disk}`,
    filter: `filter-${disk}`,
    job: `backup-job-${disk}`,
    export: `export-${disk}`,
    bitmap: `backup-${disk}`,
  };
}

async function addScratch(machine: QemuSystem, disk: string, image: string): Promise<void> {
  const { node, scratch } = namesOf(disk);
  const file = machine.folder.file(`${scratch}.qcow2`);
  const nodes = (await machine.qmp.execute('query-named-block-nodes', {
    flat: true,
  })) as readonly QmpObject[];
  const info = nodes.find(candidate => candidate['node-name'] === node)?.['image'] as QmpObject | undefined;
  const size = String(info?.['virtual-size']);
  // -u: the live image is locked, so qemu-img must not open it; hence the explicit size.
  await runOk('qemu-img', ['create', '-u', '-q', '-f', 'qcow2', '-b', image, '-F', 'qcow2', file, size]);
  await machine.qmp.execute('blockdev-add', {
    ...{ driver: 'qcow2', 'node-name': scratch, backing: node },
    file: { driver: 'file', filename: file },
  });
}

/** The transaction's actions for one disk: new bitmap, frozen copy of the old one, job; at one point in time. */
function actionsOf(disk: string, options: PullBackupOptions): QmpObject[] {
  const names = namesOf(disk);
  const { node, scratch: target } = names;
  const add = { type: 'block-dirty-bitmap-add', data: { node, name: options.checkpoint, persistent: true } };
  const job = { 'job-id': names.job, device: node, target, sync: 'none', 'filter-node-name': names.filter };
  const backup = { type: 'blockdev-backup', data: { ...job, 'auto-dismiss': false } };
  if (options.since === undefined) return [add, backup];
  const frozen = { node: target, name: names.bitmap, persistent: false, disabled: true, granularity: 65_536 };
  const merge = { node: target, target: names.bitmap, bitmaps: [{ node, name: options.since }] };
  return [
    add,
    { type: 'block-dirty-bitmap-add', data: frozen },
    { type: 'block-dirty-bitmap-merge', data: merge },
    backup,
  ];
}

async function publish(machine: QemuSystem, socket: string, options: PullBackupOptions): Promise<void> {
  const addr = { type: 'unix', data: { path: socket } };
  await machine.qmp.execute('nbd-server-start', { addr, 'max-connections': 16 });
  for (const { name } of machine.disks) {
    const names = namesOf(name);
    await machine.qmp.execute('block-export-add', {
      ...{ type: 'nbd', id: names.export, 'node-name': names.scratch, name, writable: false },
      bitmaps: options.since === undefined ? [] : [names.bitmap],
    });
  }
}

/** First the exports, then the jobs: a reader must never see the live disk through a scratch without a job. */
async function cancel({ qmp, disks }: QemuSystem): Promise<void> {
  for (const { name } of disks) {
    const id = namesOf(name).export;
    await qmp.execute('block-export-del', { id, mode: 'hard' });
    await qmp.event('BLOCK_EXPORT_DELETED', data => data['id'] === id);
  }
  for (const { name } of disks) {
    const { job } = namesOf(name);
    await qmp.execute('job-cancel', { id: job });
    await qmp.event('JOB_STATUS_CHANGE', data => data['id'] === job && data['status'] === 'concluded');
    await qmp.execute('job-dismiss', { id: job });
  }
}

/** QEMU 7.2 hangs in nbd-server-stop while a client is about to negotiate: no client may be reconnecting. */
async function removeServer({ qmp, disks }: QemuSystem): Promise<void> {
  await qmp.execute('nbd-server-stop');
  for (const { name } of disks) await qmp.execute('blockdev-del', { 'node-name': namesOf(name).scratch });
}

/**
 * Pull-mode backup with QMP alone, as libvirt's backup-begin does it. A failure half-way leaves the machine
 * as it is: the test ends it anyway.
 */
export async function beginPullBackup(machine: QemuSystem, options: PullBackupOptions): Promise<PullBackup> {
  const socket = machine.folder.file('backup.sock');
  for (const { name, image } of machine.disks) await addScratch(machine, name, image);
  const actions = machine.disks.flatMap(disk => actionsOf(disk.name, options));
  await machine.qmp.execute('transaction', { actions });
  await publish(machine, socket, options);
  const exports = machine.disks.map(({ name }) => ({
    disk: name,
    uri: nbdUri({ kind: 'unix', socket }, name),
    bitmap: options.since === undefined ? undefined : namesOf(name).bitmap,
  }));
  let cancelled: Promise<void> | undefined;
  const cancelOnce = (): Promise<void> => {
    cancelled ??= cancel(machine);
    return cancelled;
  };
  let ended: Promise<void> | undefined;
  const end = (): Promise<void> => {
    ended ??= cancelOnce().then(() => removeServer(machine));
    return ended;
  };
  const { uri, bitmap } = exports[0]!;
  const jobOf = (disk: string) => namesOf(disk).job;
  return { exports, uri, bitmap, socket, jobOf, cancel: cancelOnce, end, [Symbol.asyncDispose]: end };
}
