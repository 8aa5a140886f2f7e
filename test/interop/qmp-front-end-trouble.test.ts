/** The QMP front-end with QEMUs that are killed, full, unprivileged, oddly built or not QEMU at all. */

import { spawnSync } from 'node:child_process';
import { chmod, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import type { Finding } from '#nbdelta/hypervisor/front-end.js';
import type { FrontEndOptions } from '#nbdelta/hypervisor/front-end-options.js';
import { outlivesReaders } from '#nbdelta/hypervisor/io-threads.js';
import { QmpFrontEnd } from '#nbdelta/hypervisor/qmp/qmp-front-end.js';
import { parseSource } from '#nbdelta/hypervisor/source.js';
import { connect } from '#nbdelta/index.js';
import { makeCertificates } from '../support/certificates.js';
import { beginRequest, keptJournal, TEST_OWNER } from '../support/front-end-requests.js';
import { nbdcopy } from '../support/nbd-tools.js';
import { describeWith } from '../support/peers.js';
import { freePort, type RunningProcess, runOk, startProcess, waitFor } from '../support/processes.js';
import { createQcow2, listBitmaps, qemuIoOnImage } from '../support/qcow2-image.js';
import { qemuFootprint } from '../support/qemu-footprint.js';
import { startQemuSystem } from '../support/qemu-system.js';
import { TestQmp } from '../support/qmp.js';
import { type TempFolder, tempFolder } from '../support/temp-folder.js';

const MIB = 2 ** 20;
const SIZE = 4 * MIB;

function frontEndOf(folder: TempFolder, socket: string, options: FrontEndOptions = {}): QmpFrontEnd {
  return new QmpFrontEnd([{ disk: undefined, source: parseSource(`qmp:${socket}`) }], {
    ...{ scratch: folder.file('scratch'), socketDir: folder.file('sockets'), scratchReserve: 0 },
    ...options,
  });
}

async function folderWithDisk(): Promise<TempFolder> {
  const folder = await tempFolder();
  await mkdir(folder.file('scratch'));
  await createQcow2(folder.file('vda.qcow2'), SIZE);
  return folder;
}

const startGuest = (folder: TempFolder, extra: readonly string[] = []) =>
  startQemuSystem({ disks: [{ name: 'vda', image: folder.file('vda.qcow2') }], extra });

const filesLeft = async (folder: TempFolder) => [
  ...(await readdir(folder.file('scratch'))),
  ...(await readdir(folder.file('sockets')).catch(() => [])),
];

async function findings(frontEnd: QmpFrontEnd): Promise<readonly Finding[]> {
  const found: Finding[] = [];
  for await (const finding of frontEnd.examine({})) found.push(finding);
  return found;
}

describeWith(['qemu-system-x86_64', 'qemu-img', 'stdbuf'], 'QMP front-end and a QEMU that is killed', () => {
  it('loses the job at once, removes its files, and reads the disk as a whole next time', async () => {
    await using folder = await folderWithDisk();
    let base: string;
    {
      await using guest = await startGuest(folder);
      await using frontEnd = frontEndOf(folder, guest.qmpSocket);
      const first = await frontEnd.begin(beginRequest());
      base = first.run;
      await frontEnd.end(first, 'commit');
    }
    // A clean end stored it.
    expect(await listBitmaps(folder.file('vda.qcow2'))).toEqual([base]);
    {
      await using guest = await startGuest(folder);
      await using frontEnd = frontEndOf(folder, guest.qmpSocket);
      const record = await frontEnd.begin(beginRequest({ bases: [base] }));
      expect(record.since).toBe(base);
      const trouble: Error[] = [];
      using _watch = frontEnd.watch(record, error => trouble.push(error));
      await frontEnd.health(record);
      const pid = await qemuPid(guest.process);
      process.kill(pid, 'SIGKILL');
      await waitFor(() => trouble.length > 0, 'the watch');
      expect(trouble).toMatchObject([{ code: 'JOB_LOST' }]);
      await expect(frontEnd.health(record)).rejects.toMatchObject({ code: 'JOB_LOST' });
      const actions = await frontEnd.end(record, 'abort');
      expect(actions.map(({ what }) => what)).toEqual(['file-removed', 'file-removed', 'left']);
      expect(await filesLeft(folder)).toEqual([]);
    }
    await using guest = await startGuest(folder);
    await using frontEnd = frontEndOf(folder, guest.qmpSocket);
    expect(await findings(frontEnd)).toContainEqual(
      expect.objectContaining({
        id: 'bitmap',
        status: 'warning',
        text: expect.stringContaining('inconsistent'),
      }),
    );
    const record = await frontEnd.begin(beginRequest({ bases: [base] }));
    expect(record).toMatchObject({
      since: null,
      disks: [{ bitmap: null, reason: { code: 'bitmap-inconsistent' } }],
    });
    await frontEnd.end(record, 'commit');
    await frontEnd.dropCheckpoints([base]);
    expect(await frontEnd.listCheckpoints()).toEqual([record.run]);
  });

  it('a QEMU that is killed while the job is ended does not hang it', async () => {
    await using folder = await folderWithDisk();
    await using guest = await startGuest(folder);
    await using frontEnd = frontEndOf(folder, guest.qmpSocket);
    const record = await frontEnd.begin(beginRequest());
    const ending = frontEnd.end(record, 'abort');
    process.kill(await qemuPid(guest.process), 'SIGKILL');
    const actions = await ending;
    expect(actions.length).toBeGreaterThan(0);
    expect(await filesLeft(folder)).toEqual([]);
  });
});

/** `setpriv` and `stdbuf` become QEMU itself by exec. */
async function qemuPid({ pid }: RunningProcess): Promise<number> {
  expect(await readFile(`/proc/${pid}/comm`, 'utf8')).toMatch(/^qemu-system/);
  return pid;
}

/** A container's root may not mount. */
function canMount(): boolean {
  const { status } = spawnSync('unshare', ['-m', 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt'], {
    stdio: 'ignore',
  });
  return process.geteuid?.() === 0 && status === 0;
}

describeWith(['qemu-system-x86_64', 'qemu-img', 'stdbuf'], 'QMP front-end and little scratch space', () => {
  it('begins nothing below the reserve, and nothing without a folder', async () => {
    await using folder = await folderWithDisk();
    await using guest = await startGuest(folder);
    const before = await qemuFootprint(guest.qmp);
    const { records, journal } = keptJournal();
    const begin = async (options: FrontEndOptions) => {
      await using frontEnd = frontEndOf(folder, guest.qmpSocket, options);
      return await frontEnd.begin(beginRequest({ journal }));
    };
    await expect(begin({ scratchReserve: 2 ** 52 })).rejects.toMatchObject({ code: 'SCRATCH_FULL' });
    await expect(begin({ scratch: folder.file('nowhere') })).rejects.toMatchObject({ code: 'USAGE' });
    expect(records).toEqual([]);
    expect(await qemuFootprint(guest.qmp)).toEqual(before);
  });

  it.runIf(canMount())('tells it before the scratch folder is full, and ends the job', async () => {
    await using folder = await folderWithDisk();
    await runOk('mount', ['-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', folder.file('scratch')]);
    try {
      await using guest = await startGuest(folder);
      await guest.qemuIo('write -P 1 0 4M');
      await using frontEnd = frontEndOf(folder, guest.qmpSocket, { scratchReserve: MIB });
      const record = await frontEnd.begin(beginRequest());
      expect(record.warnings).toMatchObject([{ code: 'scratch-may-fill' }]);
      const trouble: Error[] = [];
      using _watch = frontEnd.watch(record, error => trouble.push(error));
      await guest.qemuIo('write -P 2 0 2M');
      await waitFor(() => trouble.length > 0, 'the watch');
      expect(trouble).toMatchObject([{ code: 'SCRATCH_FULL' }]);
      await frontEnd.end(record, 'abort');
      expect(await filesLeft(folder)).toEqual([]);
    } finally {
      await runOk('umount', [folder.file('scratch')]);
    }
  });
});

describeWith(['qemu-system-x86_64', 'qemu-img', 'stdbuf'], 'QMP front-end and unusual guests', () => {
  it('names and describes every kind of disk', async () => {
    await using folder = await folderWithDisk();
    const disk = (name: string) => folder.file(name);
    await writeFile(disk('raw.img'), Buffer.alloc(MIB));
    for (const name of ['old', 'read only', 'thin', 'slow', 'drive'])
      await createQcow2(disk(`${name}.qcow2`), SIZE);
    await runOk('qemu-img', ['amend', '-f', 'qcow2', '-o', 'compat=0.10', disk('old.qcow2')]);
    const node = (name: string, file: string, more = '') =>
      `driver=qcow2,node-name=${name},file.driver=file,file.filename=${disk(file)}${more}`;
    await using guest = await startGuest(folder, [
      ...['-drive', `if=none,id=d0,format=raw,file=${disk('raw.img')}`],
      ...['-device', 'virtio-blk-pci,drive=d0,id=raw@1'.replace('@', '_')],
      ...['-drive', `if=virtio,format=qcow2,file=${disk('drive.qcow2')}`],
      ...['-blockdev', node('old', 'old.qcow2'), '-device', 'virtio-blk-pci,drive=old'],
      ...['-blockdev', node('ro', 'read only.qcow2', ',read-only=on'), '-device', 'virtio-blk-pci,drive=ro'],
      ...['-object', 'throttle-group,id=tg,x-iops-total=100000'],
      ...[
        '-blockdev',
        `driver=throttle,node-name=filter,throttle-group=tg,file.driver=qcow2,file.node-name=slow,file.file.driver=file,file.file.filename=${disk('slow.qcow2')}`,
      ],
      ...['-device', 'virtio-blk-pci,drive=filter', '-device', 'ide-cd,id=cd'],
    ]);
    await using frontEnd = frontEndOf(folder, guest.qmpSocket);
    const found = await frontEnd.inspect({});
    const why = Object.fromEntries(found.disks.map(({ name, noBitmap }) => [name, noBitmap?.text ?? null]));
    expect(why).toEqual({
      'disk-vda': null,
      raw_1: expect.stringContaining('raw'),
      virtio0: null,
      old: expect.stringContaining('version 2'),
      ro: expect.stringContaining('read-only'),
      slow: null,
    });
    expect(found.disks.find(({ name }) => name === 'ro')?.source).toBe(disk('read only.qcow2'));
    expect(found.skipped).toMatchObject([{ name: 'cd', reason: { code: 'empty' } }]);
    const before = await qemuFootprint(guest.qmp);
    const first = await frontEnd.begin(beginRequest());
    // A job's filter is above the disk now; it is the same disk.
    expect(await frontEnd.inspect({})).toEqual(found);
    await frontEnd.end(first, 'commit');
    const second = await frontEnd.begin(beginRequest({ bases: [first.run] }));
    const reasons = second.disks.map(({ name, reason }) => [name, reason?.code ?? null]);
    expect(Object.fromEntries(reasons)).toEqual({
      ...{ 'disk-vda': null, virtio0: null, slow: null },
      ...{ raw_1: 'no-persistent-bitmap', old: 'no-persistent-bitmap', ro: 'no-persistent-bitmap' },
    });
    await frontEnd.end(second, 'abort');
    await frontEnd.dropCheckpoints([first.run]);
    expect(await qemuFootprint(guest.qmp)).toEqual(before);
  });

  it('refuses a disk in an I/O thread where QEMU would crash of its readers', async () => {
    await using folder = await folderWithDisk();
    await createQcow2(folder.file('fast.qcow2'), SIZE);
    await createQcow2(folder.file('scsi.qcow2'), SIZE);
    await using guest = await startGuest(folder, [
      ...['-object', 'iothread,id=io1', '-device', 'virtio-scsi-pci,id=bus,iothread=io1'],
      ...[
        '-blockdev',
        `driver=qcow2,node-name=fast,file.driver=file,file.filename=${folder.file('fast.qcow2')}`,
      ],
      ...['-device', 'virtio-blk-pci,drive=fast,id=fast,iothread=io1'],
      ...[
        '-blockdev',
        `driver=qcow2,node-name=scsi,file.driver=file,file.filename=${folder.file('scsi.qcow2')}`,
      ],
      ...['-device', 'scsi-hd,drive=scsi,id=sd,bus=bus.0'],
    ]);
    await using frontEnd = frontEndOf(folder, guest.qmpSocket);
    const { versions } = await frontEnd.inspect({});
    const safe = outlivesReaders(versions['qemu']!);
    const found = (await findings(frontEnd)).find(({ id }) => id === 'io-threads');
    expect(found?.status).toBe(safe ? 'ok' : 'problem');
    if (safe) return;
    const before = await qemuFootprint(guest.qmp);
    await expect(frontEnd.begin(beginRequest())).rejects.toMatchObject({
      code: 'HYPERVISOR_TOO_OLD',
      fields: { disks: ['fast', 'scsi'] },
    });
    expect(await qemuFootprint(guest.qmp)).toEqual(before);
    const record = await frontEnd.begin(beginRequest({ selection: { exclude: ['fast', 'scsi'] } }));
    await frontEnd.end(record, 'abort');
  });

  it.runIf(process.geteuid?.() === 0)(
    'lets a QEMU that is another user make its socket and files',
    async () => {
      await using folder = await folderWithDisk();
      await chmod(folder.path, 0o755);
      const socket = folder.file('run', 'nobody.qmp');
      await mkdir(folder.file('run'), { mode: 0o777 });
      await chmod(folder.file('run'), 0o777);
      await chmod(folder.file('vda.qcow2'), 0o666);
      const node = `driver=qcow2,node-name=vda,file.driver=file,file.filename=${folder.file('vda.qcow2')}`;
      const qmp = `unix:${socket},server=on,wait=off`;
      await using _qemu = await startProcess(
        'setpriv',
        [
          ...['--reuid', '65534', '--regid', '65534', '--clear-groups', 'qemu-system-x86_64', '-S'],
          ...['-accel', 'tcg', '-nodefaults', '-display', 'none', '-qmp', qmp],
          ...['-blockdev', node, '-device', 'virtio-blk-pci,drive=vda'],
        ],
        { ready: () => isThere(socket) },
      );
      await using frontEnd = frontEndOf(folder, socket);
      const record = await frontEnd.begin(beginRequest());
      for (const place of ['scratch', 'sockets']) {
        const { uid, mode } = await stat(folder.file(place, record.run));
        expect({ uid, mode: mode & 0o777 }).toEqual({ uid: 65_534, mode: 0o700 });
      }
      const client = await connect(record.disks[0]!.uri);
      expect(client.size).toBe(SIZE);
      await client.close();
      await frontEnd.health(record);
      await frontEnd.end(record, 'abort');
      expect(await filesLeft(folder)).toEqual([]);
    },
  );
});

async function isThere(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}

describeWith(['qemu-storage-daemon', 'qemu-img', 'nbdcopy'], 'QMP front-end and qemu-storage-daemon', () => {
  it('backs up the formats that nobody stands on', async () => {
    await using folder = await folderWithDisk();
    await qemuIoOnImage(folder.file('vda.qcow2'), ['write -P 9 0 1M']);
    const image = folder.file('top.qcow2');
    await runOk('qemu-img', [
      'create',
      '-q',
      '-f',
      'qcow2',
      '-b',
      folder.file('vda.qcow2'),
      '-F',
      'qcow2',
      image,
    ]);
    await qemuIoOnImage(image, ['write -P 5 512k 64k']);
    const socket = folder.file('web1.sock');
    const chardev = (id: string, path: string) => `socket,id=${id},path=${path},server=on,wait=off`;
    await using _daemon = await startProcess(
      'qemu-storage-daemon',
      [
        ...['--blockdev', `driver=qcow2,node-name=top,file.driver=file,file.filename=${image}`],
        ...['--chardev', chardev('c', socket), '--monitor', 'chardev=c'],
        ...['--chardev', chardev('o', folder.file('own.sock')), '--monitor', 'chardev=o'],
      ],
      { ready: () => isThere(folder.file('own.sock')) },
    );
    await using own = await TestQmp.open(folder.file('own.sock'));
    await using frontEnd = frontEndOf(folder, socket);
    const before = await qemuFootprint(own);
    const found = await frontEnd.inspect({});
    expect(found).toMatchObject({
      name: 'web1',
      id: null,
      state: 'running',
      disks: [{ name: 'top', noBitmap: null }],
    });
    expect(found.disks).toHaveLength(1);
    const first = await frontEnd.begin(beginRequest());
    await nbdcopy(first.disks[0]!.uri, folder.file('copied'));
    const seen = await readFile(folder.file('copied'));
    expect([seen[0], seen[512 << 10], seen[2 * MIB]]).toEqual([9, 5, 0]);
    // While it runs there is a node above the disk; the scratch image is no disk.
    expect((await frontEnd.inspect({})).disks.map(({ name }) => name)).toEqual(['top']);
    await frontEnd.health(first);
    await frontEnd.end(first, 'commit');
    const second = await frontEnd.begin(beginRequest({ bases: [first.run] }));
    expect(second.disks).toMatchObject([{ name: 'top', bitmap: 'backup-top' }]);
    await frontEnd.end(second, 'abort');
    expect(await frontEnd.sweep({ owner: TEST_OWNER, keep: [], isAlive: () => false })).toHaveLength(1);
    expect(await qemuFootprint(own)).toEqual(before);
  });
});

describeWith(['qemu-system-x86_64', 'qemu-img', 'stdbuf', 'openssl'], 'QMP front-end over TCP', () => {
  it('serves TLS with the credentials that QEMU has, and nothing without them', async () => {
    await using folder = await folderWithDisk();
    const certificates = await makeCertificates(folder);
    const listen = { host: '127.0.0.1', port: await freePort() };
    const options = { listen, tlsCertificates: certificates.client };
    {
      await using guest = await startGuest(folder);
      await using frontEnd = frontEndOf(folder, guest.qmpSocket, options);
      await expect(frontEnd.begin(beginRequest())).rejects.toMatchObject({ code: 'USAGE' });
    }
    const credentials = `tls-creds-x509,id=backup,endpoint=server,verify-peer=on,dir=${certificates.server}`;
    await using guest = await startGuest(folder, ['-object', credentials]);
    await using frontEnd = frontEndOf(folder, guest.qmpSocket, options);
    const record = await frontEnd.begin(beginRequest());
    const client = await connect(record.disks[0]!.uri);
    expect(client.size).toBe(SIZE);
    await client.close();
    const stranger = record.disks[0]!.uri.replace(
      encodeURIComponent(certificates.client),
      certificates.anonymousClient,
    );
    await expect(connect(stranger)).rejects.toMatchObject({ code: expect.stringMatching(/^NBD_/) });
    await frontEnd.end(record, 'abort');
    await expect(connect(record.disks[0]!.uri)).rejects.toMatchObject({ code: 'NBD_CONNECT_FAILED' });
    expect(await filesLeft(folder)).toEqual([]);
  });
});
