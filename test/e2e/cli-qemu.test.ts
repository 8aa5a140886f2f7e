/** Every command by hand once, against real qemu-nbd. */
import { readFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { describeWith } from '../support/peers.js';
import { outputMatches, runOk } from '../support/processes.js';
import { addBitmap, createQcow2, qemuIoOnImage, readImage } from '../support/qcow2-image.js';
import { startQemuNbd } from '../support/qemu-nbd.js';
import { type TempFolder, tempFolder } from '../support/temp-folder.js';
import { BIN, nbdelta, nbdeltaOk, startNbdelta } from './nbdelta-command.js';

const MIB = 1 << 20;
/** Of 512, but not of 4096. */
const SIZE = 16 * MIB + 1536;

async function serving<Result>(
  image: string,
  bitmaps: readonly string[],
  work: (uri: string) => Promise<Result>,
) {
  await using server = await startQemuNbd({ image, format: 'qcow2', exportName: 'vda', bitmaps });
  return await work(server.uri);
}

/** A full and an incremental of an image; what the disk held at either. */
async function makeChain(folder: TempFolder) {
  const image = folder.file('vda.qcow2');
  const repository = ['--repo', folder.file('repository')];
  await createQcow2(image, SIZE);
  await qemuIoOnImage(image, ['write -P 0x11 1M 4M', 'write -P 0x22 12M 1M']);
  await addBitmap(image, 'backup-vda');
  const before = await readImage(image);
  const full = await serving(image, [], uri =>
    nbdeltaOk(['backup', uri, ...repository, '--name', 'web1', '--checkpoint', 'monday']),
  );
  await qemuIoOnImage(image, [
    'write -P 0x33 2M 64k',
    'write -z 3M 1M',
    'discard 12M 128k',
    `write -P 0x44 16M 1536`,
  ]);
  const after = await readImage(image);
  const more = ['--bitmap', 'backup-{disk}', '--level', 'incremental', '--since', 'monday'];
  const incremental = await serving(image, ['backup-vda'], uri =>
    nbdeltaOk(['backup', `vda=${uri}`, ...repository, '--name', 'web1', ...more]),
  );
  return { image, repository, before, after, full, incremental };
}

const TOOLS = ['qemu-img', 'qemu-io', 'qemu-nbd'] as const;

describeWith([...TOOLS, 'nbdcopy'], 'nbdelta with qemu-nbd', () => {
  it('shows what an export is and what has changed', async () => {
    await using folder = await tempFolder();
    const { image } = await makeChain(folder);
    await serving(image, ['backup-vda'], async uri => {
      const info = await nbdeltaOk(['info', uri]);
      expect(info).toMatch(/^vda\n/);
      expect(info).toMatch(/size +16\.0 MiB \(16,778,752 bytes\)/);
      expect(info).toMatch(/dirty bitmaps +backup-vda/);
      expect(info).toMatch(/flags +read-only/);
      const everything = await nbdeltaOk(['map', uri]);
      expect(everything).toMatch(/1,048,576 +\S+ +data/);
      const changed = await nbdeltaOk(['map', uri, '--bitmap', 'backup-vda']);
      expect(changed).toMatch(/2,097,152 +65,536 +data +64\.0 KiB/);
      expect(changed).toMatch(/3,145,728 +1,048,576 +zero/);
      expect(changed).toContain('░▒▓█ data   · zero   blank unchanged');
    });
  });

  it('keeps a full and an incremental, and lists, shows and verifies them', async () => {
    await using folder = await tempFolder();
    const { repository, full, incremental } = await makeChain(folder);
    expect(full).toMatch(/^web1@\S+ {2}full\n {2}full: the machine has no point yet\n/);
    expect(incremental).toMatch(/^web1@\S+ {2}incremental\n/);
    expect(incremental).toMatch(/changes since: point \S+ "monday"/);
    const [, fullId] = /^web1@(\S+)/.exec(full)!;
    const [, id] = /^web1@(\S+)/.exec(incremental)!;
    expect(incremental).toContain(`builds on ${fullId}`);
    const list = await nbdeltaOk(['list', ...repository]);
    expect(list).toMatch(new RegExp(`${fullId} +full +.* vda +.* monday`));
    expect(list).toMatch(new RegExp(`└ ${id} +incremental`));
    expect(await nbdeltaOk(['show', 'web1', ...repository])).toMatch(new RegExp(`parent +${fullId}`));
    expect(await nbdeltaOk(['show', `web1@${fullId}`, ...repository])).toMatch(/level +full/);
    expect(await nbdeltaOk(['verify', ...repository])).toMatch(
      /^checked 2 points, 2 archives[\s\S]*all is well\n$/,
    );
  });

  it('restores to raw, qcow2, a folder and stdout', async () => {
    await using folder = await tempFolder();
    const { repository, before, after, full } = await makeChain(folder);
    const [, fullId] = /^web1@(\S+)/.exec(full)!;
    const restore = (point: string, ...more: readonly string[]) =>
      nbdeltaOk(['restore', point, ...repository, ...more]);
    const said = await restore('web1', '--disk', 'vda', '--to', folder.file('new.raw'));
    expect(said).toMatch(/vda +16\.0 MiB +\S+new\.raw +\S+ \+ \S+\n/);
    expect((await readFile(folder.file('new.raw'))).equals(after)).toBe(true);
    await restore(`web1@${fullId}`, '--disk', 'vda', '--to', folder.file('old.qcow2'));
    expect((await readImage(folder.file('old.qcow2'))).equals(before)).toBe(true);
    await restore('web1', '--to', folder.file('all'), '--format', 'qcow2');
    expect((await readImage(folder.file('all', 'vda.qcow2'))).equals(after)).toBe(true);
    const command = `"$0" "$1" restore web1 --repo "$2" --to - > "$3" 2> "$4"`;
    const files = [folder.file('stdout.raw'), folder.file('stderr')] as const;
    await runOk('sh', ['-c', command, process.execPath, BIN, repository[1]!, ...files]);
    expect((await readFile(files[0])).equals(after)).toBe(true);
    expect(await readFile(files[1], 'utf8')).toMatch(/^restored web1@/m);
  });

  it('serves a point to nbdcopy, on a private socket, until it is told to stop', async () => {
    await using folder = await tempFolder();
    const { repository, after } = await makeChain(folder);
    await using server = await startNbdelta(['serve', 'web1', ...repository], outputMatches(/serving until/));
    const [, uri] = /vda +16\.0 MiB +(nbd\S+)/.exec(server.stdout)!;
    await runOk('nbdcopy', [uri!, folder.file('copy.raw')]);
    expect((await readFile(folder.file('copy.raw'))).equals(after)).toBe(true);
    process.kill(server.pid, 'SIGTERM');
    expect(await server.ended).toBe(0);
    expect((await nbdelta(['info', uri!])).code).toBe(3);
  });

  it('serves on a port of its choice', async () => {
    await using folder = await tempFolder();
    const { repository } = await makeChain(folder);
    const args = ['serve', 'web1', '--disk', 'vda', '--listen', '127.0.0.1:0', ...repository];
    await using server = await startNbdelta(args, outputMatches(/serving until/));
    const [, uri] = /(nbd:\/\/127\.0\.0\.1:\d+\/vda)/.exec(server.stdout)!;
    expect(await nbdeltaOk(['info', uri!])).toMatch(/size +16\.0 MiB/);
  });
});

describeWith(TOOLS, 'nbdelta demo --qemu', () => {
  it('ends with every image compared', async () => {
    const output = await nbdeltaOk(['demo', '--qemu']);
    expect(output.match(/identical \(qemu-img compare\)/g)).toHaveLength(4);
    expect(output).toContain('All is well');
  });
});
