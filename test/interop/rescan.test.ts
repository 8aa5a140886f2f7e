/** Disks without bitmaps: what real servers publish is compared with the chain, and every point restores. */
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type BackupOptions, backup, type Manifest, verify } from '#nbdelta/index.js';
import { nbdelta, nbdeltaJson } from '../e2e/nbdelta-command.js';
import { BareGuest } from '../support/bare-guest.js';
import { startNbdkit } from '../support/nbdkit.js';
import { describeWith } from '../support/peers.js';
import { run } from '../support/processes.js';
import { startQemuNbd } from '../support/qemu-nbd.js';
import { codeOf, expectSameBytes, restoreBytes, restoreIndependently } from '../support/restore-check.js';
import { tarRegions } from '../support/tar-regions.js';
import { type TempFolder, tempFolder } from '../support/temp-folder.js';
import { backUpGuests, TrackedGuest } from '../support/tracked-guest.js';

const MIB = 2 ** 20;
const UNIT = 65_536;

let folder: TempFolder;
beforeEach(async () => {
  folder = await tempFolder();
});
afterEach(() => folder[Symbol.asyncDispose]());

const repository = () => folder.file('repo');
const RESCANNED = { level: 'incremental', method: 'rescan', bitmap: null };

async function expectRestores(point: Manifest, content: Buffer): Promise<void> {
  const spec = `guest@${point.id}`;
  expectSameBytes(await restoreBytes(repository(), spec), content, spec);
}

describeWith(['qemu-nbd', 'qemu-io', 'python3', 'zstd', 'tar'], 'a raw image behind qemu-nbd', () => {
  const image = () => folder.file('vda.raw');
  const qemuIo = async (...commands: string[]) => {
    const args = commands.flatMap(command => ['-c', command]);
    expect(await run('qemu-io', ['-f', 'raw', ...args, image()])).toMatchObject({ code: 0 });
  };

  async function backUp(options: Partial<BackupOptions> = {}): Promise<Manifest> {
    await using server = await startQemuNbd({ image: image(), format: 'raw', exportName: 'vda' });
    const disks = [{ name: 'vda', uri: server.uri }];
    return (await backup({ repository: repository(), machine: 'guest', disks, threads: 1, ...options }))
      .point;
  }

  it('is written to, trimmed, cut off and enlarged, and read only once more where it changed', async () => {
    await writeFile(image(), Buffer.concat([randomBytes(6 * MIB), Buffer.alloc(10 * MIB)]));
    const kept = [{ point: await backUp({ checkpoint: 'one' }), content: await readFile(image()) }];
    const keep = async () => kept.push({ point: await backUp(), content: await readFile(image()) });
    await qemuIo(`write -P 7 ${3 * MIB + 512} 1024`, `discard 0 ${MIB}`, `write -P 8 ${12 * MIB} ${UNIT}`);
    await keep();
    await qemuIo(`truncate ${4 * MIB}`);
    await keep();
    await qemuIo(`truncate ${9 * MIB}`, `write -P 9 ${8 * MIB} 512`);
    await keep();
    await keep();
    expect(kept.map(({ point }) => point.level)).toEqual(['full', ...Array(4).fill('incremental')]);
    const stored = kept.slice(1).map(({ point }) => point.disks[0]!);
    expect(stored.map(disk => disk.reason?.code)).toEqual([
      ...['bitmap-missing', 'disk-shrunk', 'bitmap-missing', 'bitmap-missing'],
    ]);
    for (const disk of stored) expect(disk).toMatchObject(RESCANNED);
    const [changed, , , unchanged] = kept.slice(1).map(({ point }) => point.statistics) as [
      Manifest['statistics'],
      unknown,
      unknown,
      Manifest['statistics'],
    ];
    expect(changed.dataBytes).toBeLessThanOrEqual(2 * UNIT);
    expect(changed.zeroBytes).toBe(MIB);
    expect(unchanged).toMatchObject({ dataBytes: 0, zeroBytes: 0 });
    for (const { point, content } of kept) await expectRestores(point, content);
    const { point, content } = kept[3]!;
    const script = await restoreIndependently(repository(), `guest@${point.id}`);
    expectSameBytes(script, content, 'enlarged after it was cut off, by the script');
    expect(await verify({ repository: repository(), threads: 1 })).toMatchObject({ ok: true });
  });

  it('from the command line: the reason on the terminal, in list, in show and in --json', async () => {
    await writeFile(image(), randomBytes(2 * MIB));
    await backUp();
    await using server = await startQemuNbd({ image: image(), format: 'raw', exportName: 'vda' });
    const args = ['backup', `vda=${server.uri}`, '--repo', repository(), '--name', 'guest', '--rescan'];
    const { point } = await nbdeltaJson<{ point: Manifest }>(args);
    expect(point.disks).toMatchObject([{ ...RESCANNED, reason: { code: 'rescan-requested' } }]);
    for (const words of [args, ['list', 'guest'], ['show', 'guest']]) {
      const { stdout } = await nbdelta([...words, '--repo', repository()]);
      expect(stdout, words[0]).toMatch(/rescan/);
    }
  });
});

describeWith(['nbdkit'], 'an export of nbdkit', () => {
  it.each<[string, string[]]>([
    ['without allocation', ['noextents']],
    ['that takes no small requests', ['blocksize-policy']],
  ])('%s', async (_, filters) => {
    const image = folder.file('vda.raw');
    const content = randomBytes(3 * MIB);
    content.fill(0, MIB, 2 * MIB);
    const backUp = async () => {
      await writeFile(image, content);
      const policy = filters.includes('blocksize-policy')
        ? ['blocksize-minimum=4096', 'blocksize-error-policy=error']
        : [];
      const plugin = ['file', image, ...policy];
      await using server = await startNbdkit({ plugin, filters, exportName: 'vda' });
      const disks = [{ name: 'vda', uri: server.uri }];
      return (await backup({ repository: repository(), machine: 'guest', disks, threads: 1 })).point;
    };
    await backUp();
    content[MIB + 5] = 1;
    content.fill(0, 100, 70_000);
    const point = await backUp();
    expect(point.disks).toMatchObject([RESCANNED]);
    expect(point.statistics.dataBytes).toBeLessThanOrEqual(3 * UNIT);
    await expectRestores(point, content);
  });

  it('that fails in the middle of the comparison: no point, and the next one is right', async () => {
    const guest = new BareGuest(2 * MIB);
    guest.content.fill(randomBytes(MIB), 0, MIB);
    await guest.backUp(folder, 1);
    const image = folder.file('vda.raw');
    await writeFile(image, guest.content);
    await using broken = await startNbdkit({
      plugin: ['file', image, 'error-pread=EIO', 'error-pread-rate=100%'],
      ...{ filters: ['error'], exportName: 'vda' },
    });
    const disks = [{ name: 'vda', uri: broken.uri }];
    const failed = backup({ repository: repository(), machine: 'guest', disks, rescan: true });
    expect(await codeOf(failed)).toBe('NBD_COMMAND_FAILED');
    guest.content[3] = 99;
    const { point } = await guest.backUp(folder, 2);
    await expectRestores(point, guest.content);
  });
});

describe('a chain that is compared with', () => {
  it('goes on with the bitmap that began with the rescan', async () => {
    const guest = new TrackedGuest(2 * MIB);
    const take = async (options: Partial<BackupOptions>) =>
      (await backUpGuests(folder, { vda: guest }, { threads: 1, ...options })).point;
    guest.write(0, randomBytes(MIB));
    await take({ checkpoint: 'a' });
    guest.write(5, randomBytes(100));
    const rescanned = await take({ rescan: true, checkpoint: 'b' });
    expect(rescanned).toMatchObject({ checkpoint: 'b', since: { kind: 'none' }, disks: [RESCANNED] });
    guest.write(MIB, randomBytes(10));
    const next = await take({ since: 'b', checkpoint: 'c' });
    expect(next).toMatchObject({ parent: { id: rescanned.id }, disks: [{ method: 'bitmap' }] });
    await expectRestores(next, guest.content);
    // What began before the rescan may be what was doubted: compared again.
    const outdated = await take({ since: 'a' });
    expect(outdated.disks).toMatchObject([{ method: 'rescan', reason: { code: 'disk-restarted' } }]);
    await expectRestores(outdated, guest.content);
  });

  it('has a damaged frame: a warning, and the new point does without it', async () => {
    const guest = new BareGuest(3 * MIB);
    guest.content.fill(randomBytes(3 * MIB));
    const { point: full } = await guest.backUp(folder, 1);
    const volume = join(repository(), 'guest', full.id, 'vda.0001.tar');
    const bytes = await readFile(volume);
    bytes[tarRegions(bytes).find(({ name }) => name === 'frames')!.offset + 1.5 * MIB]! ^= 1;
    await writeFile(volume, bytes);
    guest.content[1.5 * MIB]! ^= 1;
    const { point, warnings } = await guest.backUp(folder, 2);
    expect(warnings).toMatchObject([
      { code: 'older-frames-damaged', text: expect.stringContaining(full.id) },
    ]);
    expect(point.disks).toMatchObject([RESCANNED]);
    expect(await codeOf(restoreBytes(repository(), `guest@${full.id}`))).toBe('DATA_DAMAGED');
    expectSameBytes(await restoreBytes(repository(), `guest@${point.id}`), guest.content, 'healed');
  });

  it('has a damaged index: there is nothing to compare with, so it is a full', async () => {
    const guest = new BareGuest(MIB);
    guest.content.fill(randomBytes(MIB));
    const { point: full } = await guest.backUp(folder, 1);
    const volume = join(repository(), 'guest', full.id, 'vda.0001.tar');
    const bytes = await readFile(volume);
    bytes[full.disks[0]!.status === 'stored' ? full.disks[0]!.archive.index.offset + 9 : 0]! ^= 1;
    await writeFile(volume, bytes);
    const { point } = await guest.backUp(folder, 2, { rescan: true });
    expect(point).toMatchObject({ level: 'full', parent: null, reason: { code: 'chain-broken' } });
    await expectRestores(point, guest.content);
  });
});
