/** The tests' own building blocks against the real programs, before anything of nbdelta relies on them. */

import { once } from 'node:events';
import { access, copyFile, readFile, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { describe, expect, it } from 'vitest';
import { type Certificates, makeCertificates, makePskKeys } from '../support/certificates.js';
import { DiskModel } from '../support/disk-model.js';
import { startNbdServer } from '../support/nbd-server.js';
import { type MapEntry, nbdcopy, nbdinfo, nbdinfoMap } from '../support/nbd-tools.js';
import { startNbdkit } from '../support/nbdkit.js';
import { describeWith } from '../support/peers.js';
import { outputMatches, run, runOk, startProcess } from '../support/processes.js';
import { addBitmap, createQcow2, listBitmaps, qemuIoOnImage, readImage } from '../support/qcow2-image.js';
import { startQemuNbd } from '../support/qemu-nbd.js';
import { startQemuStorageDaemon } from '../support/qemu-storage-daemon.js';
import { startQemuSystem } from '../support/qemu-system.js';
import { type TempFolder, tempFolder } from '../support/temp-folder.js';

const MIB = 2 ** 20;

/** The dirty ranges of a dirty-bitmap map, as [offset, length]. */
function dirty(map: readonly MapEntry[]): readonly (readonly number[])[] {
  return map.filter(entry => (entry.type & 1) === 1).map(({ offset, length }) => [offset, length]);
}

/** 4 MiB of 0x11, bitmap `cp0`, then 64 KiB at 1 MiB and one byte at 3 MiB - 1. */
async function makeImage(folder: TempFolder): Promise<string> {
  const image = folder.file('disk.qcow2');
  await createQcow2(image, 16 * MIB);
  await qemuIoOnImage(image, ['write -P 0x11 0 4M']);
  await addBitmap(image, 'cp0');
  await qemuIoOnImage(image, ['write -P 0x22 1M 64k', `write -P 0x33 ${3 * MIB - 1} 1`]);
  return image;
}

const CHANGED = [
  [MIB, 65_536],
  [3 * MIB - 65_536, 65_536],
];

describe('temporary folders and processes', () => {
  it('leaves nothing behind and fits a socket path', async () => {
    let path: string;
    {
      await using folder = await tempFolder();
      path = folder.path;
      await writeFile(folder.file('x'), 'x');
      expect(Buffer.byteLength(folder.file('a-socket-with-quite-a-long-name.sock'))).toBeLessThan(107);
    }
    await expect(access(path)).rejects.toThrow('ENOENT');
  });

  it('gives the words of a program that dies before it is ready', async () => {
    const start = startProcess('sh', ['-c', 'echo no such luck >&2; exit 3'], { ready: () => false });
    await expect(start).rejects.toThrow(/ended \(3\) before it was ready: no such luck/);
  });

  it('ends a program that is never ready', async () => {
    const start = startProcess('sleep', ['60'], { ready: () => false, readyTimeoutMs: 100 });
    await expect(start).rejects.toThrow(/not ready in time/);
  });

  it('says when a program does not exist', async () => {
    await expect(run('no-such-program-anywhere', [])).rejects.toThrow('ENOENT');
    await expect(startProcess('no-such-program-anywhere', [], { ready: () => true })).rejects.toThrow(
      'ENOENT',
    );
  });

  it('stops a program by its pid, twice', async () => {
    const command = ['-c', 'echo ready; while :; do sleep 0.05; done'];
    const started = await startProcess('sh', command, { ready: outputMatches(/ready/) });
    await started.stop();
    await started.stop();
    expect(started.isRunning).toBe(false);
    expect(() => process.kill(started.pid, 0)).toThrow('ESRCH');
  });

  it('runs a program with input and returns a failure as a result', async () => {
    const result = await run('sh', ['-c', 'cat; echo oops >&2; exit 4'], { input: 'in' });
    expect(result).toEqual({ code: 4, stdout: 'in', stderr: 'oops\n' });
  });
});

describeWith(['qemu-img', 'qemu-io', 'qemu-nbd', 'nbdinfo', 'nbdcopy'], 'qemu-nbd', () => {
  it.each(['unix', 'tcp'] as const)('serves an image with its bitmap over %s', async transport => {
    await using folder = await tempFolder();
    const image = await makeImage(folder);
    expect(await listBitmaps(image)).toEqual(['cp0']);
    const options = { image, format: 'qcow2', bitmaps: ['cp0'], exportName: 'my disk/1' } as const;
    await using server = await startQemuNbd({ ...options, transport, allocationDepth: true });
    const info = await nbdinfo(server.uri);
    expect(info.exports[0]).toMatchObject({ 'export-name': 'my disk/1', 'export-size': 16 * MIB });
    expect(info.exports[0]?.contexts).toContain('qemu:allocation-depth');
    expect(dirty(await nbdinfoMap(server.uri, 'qemu:dirty-bitmap:cp0'))).toEqual(CHANGED);
    await nbdcopy(server.uri, folder.file('copy.raw'));
    expect((await readFile(folder.file('copy.raw'))).equals(await readImage(image))).toBe(true);
  });

  it('fails with the words of qemu-nbd for a bitmap that is not there', async () => {
    await using folder = await tempFolder();
    const image = await makeImage(folder);
    const start = startQemuNbd({ image, format: 'qcow2', bitmaps: ['nope'] });
    await expect(start).rejects.toThrow(/nope/);
  });
});

describeWith(['nbdkit', 'nbdinfo'], 'nbdkit', () => {
  it('serves a plugin behind filters', async () => {
    await using server = await startNbdkit({
      plugin: ['pattern', 'size=1M'],
      filters: ['cow'],
      exportName: 'x',
    });
    expect((await nbdinfo(server.uri)).exports[0]).toMatchObject({ 'export-name': 'x', 'export-size': MIB });
  });

  it('serves without structured replies', async () => {
    await using server = await startNbdkit({
      plugin: ['memory', '1M'],
      options: ['--no-sr'],
      transport: 'tcp',
    });
    expect((await nbdinfo(server.uri)).structured).toBe(false);
  });

  it('serves the plain newstyle and the oldstyle handshake', async () => {
    await using newstyle = await startNbdkit({ plugin: ['memory', '1M'], options: ['--mask-handshake=0'] });
    expect((await nbdinfo(newstyle.uri)).protocol).toBe('newstyle');
    await using oldstyle = await startNbdkit({ plugin: ['memory', '1M'], options: ['-o'] });
    expect((await nbdinfo(oldstyle.uri)).protocol).toBe('oldstyle');
  });
});

/** `nbdinfo --size`. (nbd-server 3.24 answers NBD_OPT_INFO, which plain nbdinfo asks, with size 0.) */
async function exportSize(uri: string): Promise<number> {
  return Number(await runOk('nbdinfo', ['--size', uri]));
}

describeWith(['nbd-server', 'nbdinfo', 'nbdcopy'], 'nbd-server', () => {
  it.each(['unix', 'tcp'] as const)('serves raw files over %s', async transport => {
    await using folder = await tempFolder();
    const content = Buffer.alloc(2 * MIB, 'nbd-server ');
    await writeFile(folder.file('a.raw'), content);
    await writeFile(folder.file('b.raw'), Buffer.alloc(MIB));
    const exports = { a: folder.file('a.raw'), b: folder.file('b.raw') };
    await using server = await startNbdServer({ exports, transport });
    expect(await exportSize(server.uri)).toBe(2 * MIB);
    expect(await exportSize(server.uriOf('b'))).toBe(MIB);
    await nbdcopy(server.uri, folder.file('copy.raw'));
    expect((await readFile(folder.file('copy.raw'))).equals(content)).toBe(true);
  });
});

describeWith(['qemu-img', 'qemu-io', 'qemu-storage-daemon', 'nbdinfo'], 'qemu-storage-daemon', () => {
  it('exports an image with its bitmap', async () => {
    await using folder = await tempFolder();
    const image = await makeImage(folder);
    await using server = await startQemuStorageDaemon({ image, bitmaps: ['cp0'] });
    expect((await nbdinfo(server.uri)).exports[0]?.['export-name']).toBe('vda');
    expect(dirty(await nbdinfoMap(server.uri, 'qemu:dirty-bitmap:cp0'))).toEqual(CHANGED);
    expect(await server.qmp.execute('query-block-exports')).toHaveLength(1);
  });

  it('fails with the words of QEMU for a bitmap that is not there, and leaves no process', async () => {
    await using folder = await tempFolder();
    const image = await makeImage(folder);
    await expect(startQemuStorageDaemon({ image, bitmaps: ['nope'] })).rejects.toThrow(/nope/);
  });
});

const GUEST_TOOLS = ['qemu-img', 'qemu-io', 'qemu-system-x86_64', 'stdbuf', 'nbdinfo', 'nbdcopy'] as const;

describeWith(GUEST_TOOLS, 'qemu-system pull-mode backup', () => {
  it('shows one point in time, then the changes since it', async () => {
    await using folder = await tempFolder();
    const image = folder.file('vda.qcow2');
    await createQcow2(image, 16 * MIB);
    await using machine = await startQemuSystem({ disks: [{ name: 'vda', image }] });
    await machine.qemuIo('write -P 0x11 0 4M');

    const full = await machine.beginPullBackup({ checkpoint: 'cp0' });
    expect(full.bitmap).toBeUndefined();
    await machine.qemuIo('write -P 0x22 0 64k');
    await nbdcopy(full.uri, folder.file('full.raw'));
    const content = Buffer.alloc(16 * MIB);
    content.fill(0x11, 0, 4 * MIB);
    expect((await readFile(folder.file('full.raw'))).equals(content)).toBe(true);
    await full.end();
    await full.end();
    expect(await machine.qmp.execute('query-jobs')).toEqual([]);

    await machine.qemuIo('write -z -u 1M 64k');
    await using incremental = await machine.beginPullBackup({ checkpoint: 'cp1', since: 'cp0' });
    expect(incremental.bitmap).toBe('backup-vda');
    const map = await nbdinfoMap(incremental.uri, 'qemu:dirty-bitmap:backup-vda');
    expect(dirty(map)).toEqual([
      [0, 65_536],
      [MIB, 65_536],
    ]);
    await machine.qemuIo('write -P 0x44 0 64k');
    await nbdcopy(incremental.uri, folder.file('incremental.raw'));
    content.fill(0x22, 0, 65_536).fill(0, MIB, MIB + 65_536);
    expect((await readFile(folder.file('incremental.raw'))).equals(content)).toBe(true);
  });

  it('backs up two disks at one point in time and cuts readers off at the end', async () => {
    await using folder = await tempFolder();
    const disks = ['vda', 'vdb'].map(name => ({ name, image: folder.file(`${name}.qcow2`) }));
    for (const { image } of disks) await createQcow2(image, 4 * MIB);
    await using machine = await startQemuSystem({ disks });
    await machine.qemuIo('write -P 0x55 1M 64k', 'vdb');
    const backup = await machine.beginPullBackup({ checkpoint: 'cp0' });
    expect(backup.exports.map(({ disk }) => disk)).toEqual(['vda', 'vdb']);
    expect((await nbdinfo(backup.exports[1]!.uri)).exports[0]?.['export-size']).toBe(4 * MIB);
    const reader = connect(backup.socket);
    const cut = new Promise(resolve => reader.once('error', resolve).once('close', resolve));
    await once(reader, 'data');
    reader.write(
      Buffer.from('00000003 49484156454f5054 00000001 00000003 766461'.replaceAll(' ', ''), 'hex'),
    );
    await once(reader, 'data'); // NBD_OPT_EXPORT_NAME vda: in the transmission phase now
    await backup.end();
    await cut;
    expect((await run('nbdinfo', [backup.uri])).code).not.toBe(0);
  });

  it("says when a guest's write fails", async () => {
    await using folder = await tempFolder();
    const image = folder.file('vda.qcow2');
    await createQcow2(image, MIB);
    await using machine = await startQemuSystem({ disks: [{ name: 'vda', image }] });
    await expect(machine.qemuIo('write -P 0x11 1M 64k')).rejects.toThrow(/qemu-io write/);
    await expect(machine.qemuIo('write -P 0x11 0 64k', 'vdx')).rejects.toThrow(/vdx/);
  });
});

describeWith(['openssl', 'nbdkit', 'nbdinfo', 'qemu-nbd', 'qemu-img', 'qemu-io'], 'TLS credentials', () => {
  /** nbdinfo with a client's folder; its exit code. */
  async function tryX509(uri: string, folder: string): Promise<number | null> {
    const link = `${uri}?tls-certificates=${folder}`;
    return (await run('nbdinfo', ['--size', link])).code;
  }

  /** Whoever may connect to a server that verifies its clients. */
  async function expectVerified(uri: string, certificates: Certificates): Promise<void> {
    expect(await tryX509(uri, certificates.client)).toBe(0);
    expect(await tryX509(uri, certificates.strangerClient)).not.toBe(0);
    expect(await tryX509(uri, certificates.anonymousClient)).not.toBe(0);
    expect(await tryX509(uri, certificates.distrustfulClient)).not.toBe(0);
  }

  it('are what qemu-nbd and libnbd take', async () => {
    await using folder = await tempFolder();
    const certificates = await makeCertificates(folder);
    const image = await makeImage(folder);
    const tls = { kind: 'x509', folder: certificates.server, verifyClient: true } as const;
    await using server = await startQemuNbd({ image, format: 'qcow2', transport: 'tcp', tls });
    await expectVerified(server.uri, certificates);
  });

  it('are what nbdkit takes, for the right host only', async () => {
    await using folder = await tempFolder();
    const certificates = await makeCertificates(folder);
    const plugin = ['memory', '1M'];
    const tls = { kind: 'x509', folder: certificates.server, verifyClient: true } as const;
    await using server = await startNbdkit({ plugin, transport: 'tcp', tls });
    await expectVerified(server.uri, certificates);
    for (const wrong of [certificates.wrongHostServer, certificates.expiredServer]) {
      await using other = await startNbdkit({
        plugin,
        transport: 'tcp',
        tls: { kind: 'x509', folder: wrong },
      });
      expect(await tryX509(other.uri, certificates.client)).not.toBe(0);
    }
  });

  it('have a pre-shared key for qemu-nbd and nbdkit', async () => {
    await using folder = await tempFolder();
    const keys = await makePskKeys(folder);
    const stranger = await makePskKeys(folder, 'mallory');
    const image = await makeImage(folder);
    const tls = { kind: 'psk', folder: keys.folder } as const;
    await using qemu = await startQemuNbd({ image, format: 'qcow2', tls });
    await using nbdkit = await startNbdkit({ plugin: ['memory', '1M'], tls });
    for (const { uri } of [qemu, nbdkit]) {
      const connectAs = ({ user, file }: typeof keys) =>
        run('nbdinfo', ['--size', `${uri.replace('///', `//${user}@/`)}&tls-psk-file=${file}`]);
      expect(await connectAs(keys)).toMatchObject({ code: 0 });
      expect((await connectAs(stranger)).code).not.toBe(0);
    }
  });
});

describeWith(['qemu-img', 'qemu-io'], 'disk model', () => {
  it.each([1, 2, 3])('holds what qcow2 holds after random operations (seed %i)', async seed => {
    await using folder = await tempFolder();
    const model = new DiskModel({ size: 2 * MIB + 512, seed });
    const image = folder.file('disk.qcow2');
    await createQcow2(image, model.content.length);
    await writeFile(folder.file('pattern'), model.pattern);
    for (let round = 0; round < 3; round++) {
      const operations = model.randomOperations(40);
      const commands = operations.map(operation => DiskModel.commandOf(operation, folder.file('pattern')));
      await qemuIoOnImage(image, commands);
      await copyFile(image, folder.file(`round-${round}.qcow2`));
      expect((await readImage(image)).equals(model.content), `round ${round}: ${commands.join('; ')}`).toBe(
        true,
      );
    }
  });
});
