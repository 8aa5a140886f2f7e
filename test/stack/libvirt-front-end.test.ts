import { chmod, mkdir, readdir, stat, writeFile } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, expect, it, vi } from 'vitest';
import type { FrontEndOptions } from '#nbdelta/hypervisor/front-end-options.js';
import { LibvirtFrontEnd } from '#nbdelta/hypervisor/libvirt/libvirt-front-end.js';
import { newRunName } from '#nbdelta/hypervisor/run-name.js';
import type { SessionRecord } from '#nbdelta/hypervisor/session-record.js';
import { parseSource } from '#nbdelta/hypervisor/source.js';
import { makeCertificates } from '../support/certificates.js';
import { beginRequest, TEST_OWNER } from '../support/front-end-requests.js';
import { type Libvirtd, startLibvirtd } from '../support/libvirt/libvirtd.js';
import { definePausedDomain, type PausedDomain } from '../support/libvirt/paused-domain.js';
import { writeWritingImage } from '../support/libvirt/writing-guest.js';
import { describeWith, type PeerTool } from '../support/peers.js';
import { freePort, run, runOk, waitFor } from '../support/processes.js';
import { createQcow2, listBitmaps } from '../support/qcow2-image.js';
import { startSshd } from '../support/sshd.js';
import { tempFolder } from '../support/temp-folder.js';

const STACK: readonly PeerTool[] = [
  'virsh',
  'libvirtd',
  'qemu-system-x86_64',
  'qemu-img',
  'nbdinfo',
  'nsenter',
];
const MIB = 2 ** 20;

async function makeDomain(libvirtd: Libvirtd, name: string, formats = ['qcow2', 'qcow2'] as const) {
  const disks = formats.map((format, index) => {
    const target = `vd${'abc'[index]}`;
    return { target, image: libvirtd.folder.file(`${name}-${target}.${format}`), format };
  });
  for (const { image } of disks) await createQcow2(image, 8 * MIB);
  return await definePausedDomain(libvirtd, { name, disks });
}

function frontEndOf(libvirtd: Libvirtd, name: string, options: FrontEndOptions = {}): LibvirtFrontEnd {
  return new LibvirtFrontEnd([{ disk: undefined, source: parseSource(`libvirt:${name}`) }], {
    connect: libvirtd.uri,
    scratch: libvirtd.folder.file('scratch'),
    scratchReserve: MIB,
    socketDir: libvirtd.folder.file('nbd'),
    ...options,
  });
}

/** Bytes that a disk's bitmap has as changed, by a client of others. */
async function dirtyBytes(record: SessionRecord, disk: string): Promise<number> {
  const { uri, bitmap } = record.disks.find(each => each.name === disk)!;
  const map = await runOk('nbdinfo', [`--map=qemu:dirty-bitmap:${bitmap}`, '--totals', uri]);
  return Number(/^\s*(\d+)\s.*\bdirty$/m.exec(map)?.[1] ?? 0);
}

/** A committed checkpoint, and what libvirt says of it. */
async function commitPoint(frontEnd: LibvirtFrontEnd): Promise<{ name: string; definition: string }> {
  const record = await frontEnd.begin(beginRequest());
  const files = await frontEnd.readFiles(record);
  await frontEnd.end(record, 'commit');
  const definition = files.find(({ name }) => name === 'checkpoint.xml')!.bytes;
  return { name: record.run, definition: Buffer.from(definition).toString('utf8') };
}

function reasons(record: SessionRecord) {
  return Object.fromEntries(record.disks.map(({ name, bitmap, reason }) => [name, reason?.code ?? bitmap]));
}

async function scratchAndSockets(libvirtd: Libvirtd): Promise<readonly string[]> {
  const names = await Promise.all(
    ['scratch', 'nbd'].map(folder => readdir(libvirtd.folder.file(folder)).catch(() => [])),
  );
  return names.flat();
}

describeWith(STACK, 'libvirt: bases', () => {
  let libvirtd: Libvirtd;
  let domain: PausedDomain;
  let frontEnd: LibvirtFrontEnd;

  beforeAll(async () => {
    libvirtd = await startLibvirtd();
    await mkdir(libvirtd.folder.file('scratch'));
    domain = await makeDomain(libvirtd, 'web1');
    frontEnd = frontEndOf(libvirtd, 'web1');
  }, 60_000);

  afterEach(async () => {
    expect(await scratchAndSockets(libvirtd)).toEqual([]);
    await frontEnd.dropCheckpoints(await frontEnd.listCheckpoints());
    expect(await domain.bitmaps()).toEqual({ vda: [], vdb: [] });
  }, 60_000);

  afterAll(() => libvirtd?.[Symbol.asyncDispose](), 60_000);

  it('defines a checkpoint again that libvirt forgot, and misses nothing', async () => {
    const first = await commitPoint(frontEnd);
    const second = await commitPoint(frontEnd);
    await domain.fill('vda', 0, 65536, 0x11);
    for (const { name } of [first, second]) {
      await libvirtd.virsh('checkpoint-delete', 'web1', name, '--metadata');
    }
    // Its parent is not known any more: libvirt refuses it with one.
    const record = await frontEnd.begin({ ...beginRequest(), bases: [second, first] });
    expect(record).toMatchObject({ since: second.name, warnings: [{ code: 'checkpoint-redefined' }] });
    expect([await dirtyBytes(record, 'vda'), await dirtyBytes(record, 'vdb')]).toEqual([65536, 0]);
    await frontEnd.end(record, 'abort');
    const sweep = { owner: TEST_OWNER, keep: [second, first], isAlive: () => false };
    expect(await frontEnd.sweep(sweep)).toMatchObject([{ what: 'checkpoint-redefined', name: first.name }]);
    expect(await frontEnd.sweep(sweep)).toEqual([]);
  }, 60_000);

  it("takes no other domain's checkpoint for its own", async () => {
    const { name, definition } = await commitPoint(frontEnd);
    await libvirtd.virsh('checkpoint-delete', 'web1', name, '--metadata');
    const foreign = definition.replace(/<uuid>[^<]*/, '<uuid>11111111-2222-3333-4444-555555555555');
    const record = await frontEnd.begin({ ...beginRequest(), bases: [{ name, definition: foreign }] });
    expect(record.since).toBeNull();
    expect(reasons(record)).toEqual({ vda: 'checkpoint-missing', vdb: 'checkpoint-missing' });
    await frontEnd.end(record, 'abort');
    await frontEnd.sweep({ owner: TEST_OWNER, keep: [{ name, definition }], isAlive: () => false });
  }, 60_000);

  it('reads a disk whole whose bitmap is gone, and the others since the base', async () => {
    const base = await commitPoint(frontEnd);
    await domain.fill('vdb', 0, 65536, 0x22);
    await removeBitmap(domain, 'vda', base.name);
    const record = await frontEnd.begin({ ...beginRequest(), bases: [base] });
    expect(reasons(record)).toEqual({ vda: 'bitmap-inconsistent', vdb: 'backup-vdb' });
    expect(await dirtyBytes(record, 'vdb')).toBe(65536);
    await frontEnd.end(record, 'abort');
    // Also when libvirt forgot it; then the rest of it is deleted with its bitmap (see afterEach).
    await libvirtd.virsh('checkpoint-delete', 'web1', base.name, '--metadata');
    const again = await frontEnd.begin({ ...beginRequest(), bases: [base] });
    expect(reasons(again)).toEqual({ vda: 'disk-not-in-checkpoint', vdb: 'backup-vdb' });
    await frontEnd.end(again, 'abort');
  }, 60_000);

  it('deletes a checkpoint with one bitmap missing, and all its others', async () => {
    const base = await commitPoint(frontEnd);
    await removeBitmap(domain, 'vdb', base.name);
    expect(await frontEnd.dropCheckpoints([base.name])).toMatchObject([{ what: 'checkpoint-deleted' }]);
    expect(await domain.bitmaps()).toEqual({ vda: [], vdb: [] });
  }, 60_000);

  it('reads a disk whole that the checkpoint does not know', async () => {
    const begun = await frontEnd.begin(beginRequest({ selection: { include: ['vdb'] } }));
    await frontEnd.end(begun, 'commit');
    const record = await frontEnd.begin(beginRequest({ bases: ['nbdelta-unknown', begun.run] }));
    expect(record.since).toBe(begun.run);
    expect(reasons(record)).toEqual({ vda: 'disk-not-in-checkpoint', vdb: 'backup-vdb' });
    await frontEnd.end(record, 'abort');
  }, 60_000);

  it('leaves jobs, checkpoints and runs alone that are not its own, and says whose they are', async () => {
    await writeFile(
      libvirtd.folder.file('c.xml'),
      '<domaincheckpoint><name>theirs</name></domaincheckpoint>',
    );
    await libvirtd.virsh('checkpoint-create', 'web1', libvirtd.folder.file('c.xml'));
    const record = await frontEnd.begin({ ...beginRequest(), run: newRunName('0000beef').text });
    await expect(frontEnd.begin(beginRequest())).rejects.toMatchObject({
      code: 'JOB_CONFLICT',
      message: expect.stringContaining(record.run),
    });
    const isAlive = () => false;
    expect(await frontEnd.sweep({ owner: TEST_OWNER, keep: [], isAlive })).toEqual([]);
    expect(await frontEnd.sweep({ owner: '0000beef', keep: [], isAlive: () => true })).toEqual([]);
    await frontEnd.health(record);
    expect(await frontEnd.dropCheckpoints(['theirs'])).toEqual([]);
    const actions = await frontEnd.sweep({ owner: '0000beef', keep: [], isAlive });
    expect(actions.map(({ what }) => what)).toEqual(['job-ended', 'checkpoint-deleted', 'file-removed']);
    await expect(frontEnd.health(record)).rejects.toMatchObject({ code: 'JOB_LOST' });
    expect(await domain.checkpoints()).toEqual(['theirs']);
    await libvirtd.virsh('checkpoint-delete', 'web1', 'theirs');
  }, 60_000);

  it('goes on when libvirtd is restarted in the middle', async () => {
    const record = await frontEnd.begin(beginRequest());
    const trouble = vi.fn();
    using _watch = frontEnd.watch(record, trouble);
    await libvirtd.kill();
    const health = frontEnd.health(record);
    await libvirtd.start();
    await health;
    expect(trouble).not.toHaveBeenCalled();
    await frontEnd.end(record, 'abort');
  }, 60_000);

  it('knows a guest that was started again for another one', async () => {
    const record = await frontEnd.begin(beginRequest());
    await domain.destroy();
    await expect(frontEnd.health(record)).rejects.toThrow('the guest was shut down');
    await domain.start();
    await expect(frontEnd.health(record)).rejects.toThrow('started again');
    await frontEnd.end(record, 'abort');
    expect(await frontEnd.listCheckpoints()).toEqual([]);
  }, 60_000);

  it('removes the checkpoint of a guest that is off from its images, too', async () => {
    const record = await frontEnd.begin(beginRequest());
    await domain.destroy();
    expect(await listBitmaps(domain.disks[0]!.image)).toEqual([record.run]);
    await frontEnd.end(record, 'abort');
    expect(await frontEnd.listCheckpoints()).toEqual([]);
    expect(await listBitmaps(domain.disks[0]!.image)).toEqual([]);
    await domain.start();
  }, 60_000);

  it('reads the images of a guest that is off, since the checkpoint that goes on', async () => {
    const base = await commitPoint(frontEnd);
    await domain.fill('vda', 65536, 65536, 0x33);
    await domain.destroy();
    const record = await frontEnd.begin({ ...beginRequest(), bases: [base] });
    expect(record).toMatchObject({ kind: 'libvirt', checkpoint: null, since: base.name });
    expect(record.disks.map(({ source }) => source)).toEqual(domain.disks.map(({ image }) => image));
    expect([await dirtyBytes(record, 'vda'), await dirtyBytes(record, 'vdb')]).toEqual([65536, 0]);
    await frontEnd.health(record);
    const files = (await frontEnd.readFiles(record)).map(({ name }) => name);
    expect(files).toEqual(['domain.xml']);
    // By a process that has nothing but the record.
    await using other = frontEndOf(libvirtd, 'web1');
    await other.end(JSON.parse(JSON.stringify(record)), 'commit');
    await expect(frontEnd.health(record)).rejects.toMatchObject({ code: 'JOB_LOST' });
    expect(await listBitmaps(domain.disks[0]!.image)).toEqual([base.name]);
    await domain.start();
    const next = await frontEnd.begin({ ...beginRequest(), bases: [base] });
    expect(await dirtyBytes(next, 'vda')).toBe(65536);
    await frontEnd.end(next, 'abort');
  }, 60_000);
});

async function removeBitmap(domain: PausedDomain, target: string, name: string): Promise<void> {
  const image = domain.disks.find(disk => disk.target === target)!.image;
  const nodes = (await domain.qmp('query-named-block-nodes', { flat: true })) as readonly {
    readonly 'node-name': string;
    readonly drv: string;
    readonly file: string;
  }[];
  const node = nodes.find(each => each.file === image && each.drv === 'qcow2')!['node-name'];
  await domain.qmp('block-dirty-bitmap-remove', { node, name });
}

describeWith(
  [...STACK, 'openssl', 'ssh', 'sshd', 'ssh-keygen', 'python3'],
  'libvirt: as a distribution runs it',
  () => {
    it('has an unprivileged QEMU bind where nobody else can enter', async () => {
      await using libvirtd = await startLibvirtd({ user: 'libvirt-qemu' });
      await hideKvm(libvirtd);
      await mkdir(libvirtd.folder.file('scratch'));
      await makeDomain(libvirtd, 'web1');
      await using frontEnd = frontEndOf(libvirtd, 'web1');
      const record = await frontEnd.begin(beginRequest());
      const folder = await stat(libvirtd.folder.file('nbd', record.run));
      const uid = Number(await runOk('id', ['-u', 'libvirt-qemu']));
      expect([folder.uid, folder.mode & 0o777]).toEqual([uid, 0o700]);
      await runOk('nbdinfo', [record.disks[0]!.uri]);
      await frontEnd.end(record, 'abort');
      expect(await scratchAndSockets(libvirtd)).toEqual([]);
    }, 90_000);

    it('reads over TCP with TLS, and with no client that is not known', async () => {
      await using folder = await tempFolder();
      await chmod(folder.path, 0o755);
      const certificates = await makeCertificates(folder);
      await using libvirtd = await startLibvirtd({
        qemuConf: [`backup_tls_x509_cert_dir = "${certificates.server}"`, 'backup_tls_x509_verify = 1'],
      });
      await mkdir(libvirtd.folder.file('scratch'));
      await makeDomain(libvirtd, 'web1');
      const listen = { host: '127.0.0.1', port: await freePort() };
      await using frontEnd = frontEndOf(libvirtd, 'web1', { listen, tlsCertificates: certificates.client });
      const record = await frontEnd.begin(beginRequest());
      const { uri } = record.disks[0]!;
      expect(await runOk('nbdinfo', [uri])).toContain('with TLS');
      expect((await run('nbdinfo', [uri.replace('nbds:', 'nbd:').replace(/\?.*/, '')])).code).not.toBe(0);
      const stranger = uri.replace(/=.*/, `=${certificates.strangerClient}`);
      expect((await run('nbdinfo', [stranger])).code).not.toBe(0);
      await frontEnd.health(record);
      await frontEnd.end(record, 'abort');
    }, 90_000);

    it('drives another host over ssh; the forward outlives the process that made it, and is ended by another', async () => {
      await using sshd = await startSshd();
      vi.stubEnv('PATH', sshd.path);
      await using _env = { [Symbol.asyncDispose]: async () => void vi.unstubAllEnvs() };
      await using libvirtd = await startLibvirtd();
      await mkdir(libvirtd.folder.file('scratch'));
      await makeDomain(libvirtd, 'web1');
      const query = `keyfile=${sshd.keyFile}&netcat=${sshd.netcat}&socket=${libvirtd.folder.file('sock/libvirt-sock')}`;
      const connect = `qemu+ssh://root@127.0.0.1:${sshd.port}/system?${query}`;
      const begin = async () => {
        await using frontEnd = frontEndOf(libvirtd, 'web1', { connect });
        return await frontEnd.begin(beginRequest());
      };
      const record = await begin();
      const { uri } = record.disks[0]!;
      expect(uri).not.toContain(libvirtd.folder.path);
      await runOk('nbdinfo', [uri]);
      await using frontEnd = frontEndOf(libvirtd, 'web1', { connect });
      await frontEnd.health(record);
      await frontEnd.end(record, 'abort');
      expect((await run('nbdinfo', [uri])).code).not.toBe(0);
      expect(await scratchAndSockets(libvirtd)).toEqual([]);
      // A stranger's key.
      const refused = frontEndOf(libvirtd, 'web1', {
        connect: connect.replace(/keyfile=[^&]*/, 'keyfile=/dev/null'),
      });
      await expect(refused.inspect({})).rejects.toMatchObject({ code: 'HYPERVISOR_DENIED' });
    }, 120_000);
  },
);

/**
 * A KVM that root may use and QEMU's user may not (containers) has libvirt ask its QEMUs again and again what they can,
 * 4 s each time. It is not used here.
 */
async function hideKvm(libvirtd: Libvirtd): Promise<void> {
  const nothing = libvirtd.folder.file('no-kvm');
  await writeFile(nothing, '', { mode: 0 });
  await libvirtd.inNamespace('sh', '-c', `[ ! -e /dev/kvm ] || mount --bind '${nothing}' /dev/kvm`);
}

describeWith([...STACK, 'unshare'], 'libvirt: scratch space', () => {
  it('ends the job before the guest suffers, and resumes one that a full scratch stopped', async () => {
    await using tiny = await tempFolder();
    await runOk('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', tiny.path]);
    await using _mount = { [Symbol.asyncDispose]: async () => void (await runOk('umount', [tiny.path])) };
    await using libvirtd = await startLibvirtd();
    const image = libvirtd.folder.file('vda.raw');
    await writeWritingImage(image, 24 * MIB);
    const disks = [{ target: 'vda', image, format: 'raw' }] as const;
    const domain = await definePausedDomain(libvirtd, { name: 'writer', disks });
    await libvirtd.virsh('resume', 'writer');
    const options = { scratch: tiny.path, socketDir: libvirtd.folder.file('nbd') };
    const eager = frontEndOf(libvirtd, 'writer', { ...options, scratchReserve: 16 * MIB });
    await expect(eager.begin(beginRequest())).rejects.toMatchObject({ code: 'SCRATCH_FULL' });
    await using frontEnd = frontEndOf(libvirtd, 'writer', { ...options, scratchReserve: 2 * MIB });
    const record = await frontEnd.begin(beginRequest());
    expect(record.warnings).toMatchObject([{ code: 'scratch-may-fill' }]);
    expect(reasons(record)).toEqual({ vda: 'no-persistent-bitmap' });
    let trouble: unknown;
    using _watch = frontEnd.watch(record, error => {
      trouble = error;
    });
    await domain.fill('vda', 512, 512, 'G'.charCodeAt(0));
    await waitFor(() => trouble !== undefined, 'trouble');
    expect(trouble).toMatchObject({ code: 'SCRATCH_FULL' });
    const isStopped = async () =>
      (await libvirtd.virsh('domstate', 'writer', '--reason')).includes('I/O error');
    await waitFor(isStopped, 'the guest to stop');
    await frontEnd.health(record);
    const actions = await frontEnd.end(record, 'abort');
    expect(actions.map(({ what }) => what)).toEqual(['job-ended', 'guest-resumed']);
    expect(await libvirtd.virsh('domstate', 'writer')).toContain('running');
    expect(await readdir(tiny.path)).toEqual([]);
  }, 90_000);
});
