/** `nbdelta` and images of a guest that is off: backups, the doctor, recovery, and input of every wrong kind. */

import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { BegunSession, Diagnosis, EndedSession, RecoverResult, SessionListing } from '#nbdelta/index.js';
import { filesIn } from '../conformance/left-files.js';
import { createEncrypted } from '../support/encrypted-image.js';
import { startImageUser } from '../support/image-guest.js';
import { describeWith } from '../support/peers.js';
import { run, runOk } from '../support/processes.js';
import { addBitmap, createQcow2, listBitmaps, qemuIoOnImage } from '../support/qcow2-image.js';
import { expectSameBytes, restoreBytes } from '../support/restore-check.js';
import { type TempFolder, tempFolder } from '../support/temp-folder.js';
import { BIN, nbdelta, nbdeltaFails, nbdeltaJson, nbdeltaOk } from './nbdelta-command.js';

const SIZE = 2 ** 22;
const BLOCK = 65_536;

interface BackupJson {
  readonly point: {
    readonly level: string;
    readonly disks: readonly {
      readonly name: string;
      readonly method?: string;
      readonly level: string;
      readonly reason: { readonly code: string } | null;
    }[];
  };
}

let folder: TempFolder;
beforeAll(async () => {
  folder = await tempFolder();
});
afterAll(() => folder[Symbol.asyncDispose]());

const state = () => ['--state-dir', folder.file('state')];
const places = () => [...state(), '--socket-dir', folder.file('sockets')];
const repo = (name = 'repo') => ['--repo', folder.file(name)];

/** Nothing of a run that failed: no repository, no folder, nothing remembered. */
async function expectNothing(): Promise<void> {
  for (const name of ['none', 'sockets', 'state/runs'])
    expect(await filesIn(folder.file(name)), name).toEqual([]);
}

describeWith(
  ['qemu-img', 'qemu-nbd', 'qemu-io'],
  'images of a guest that is off, from the command line',
  () => {
    const images = () => [`vda=image:${folder.file('vda.qcow2')}`, `vdb=image:${folder.file('vdb.raw')}`];

    beforeAll(async () => {
      await createQcow2(folder.file('vda.qcow2'), SIZE);
      await runOk('qemu-img', ['create', '-q', '-f', 'raw', folder.file('vdb.raw'), String(SIZE)]);
    });

    it('takes what changed of qcow2 by its bitmap, of raw by comparing, with the reason, and restores both', async () => {
      const backup = ['backup', ...images(), ...repo(), '--name', 'web1', ...places()];
      expect((await nbdeltaJson<BackupJson>(backup)).point.level).toBe('full');
      await qemuIoOnImage(folder.file('vda.qcow2'), [`write -P 1 0 ${BLOCK}`]);
      await qemuIoOnImage(folder.file('vdb.raw'), [`write -P 2 ${BLOCK} ${BLOCK}`], 'raw');
      const { point } = await nbdeltaJson<BackupJson>(backup);
      expect(point.level).toBe('incremental');
      expect(point.disks).toMatchObject([
        { name: 'vda', level: 'incremental', method: 'bitmap' },
        { name: 'vdb', level: 'incremental', method: 'rescan', reason: { code: 'no-persistent-bitmap' } },
      ]);
      const [vda, vdb] = [Buffer.alloc(SIZE).fill(1, 0, BLOCK), Buffer.alloc(SIZE).fill(2, BLOCK, 2 * BLOCK)];
      expectSameBytes(await restoreBytes(folder.file('repo'), 'web1', 'vda'), vda, 'vda');
      expectSameBytes(await restoreBytes(folder.file('repo'), 'web1', 'vdb'), vdb, 'vdb');
      expect(await nbdeltaOk(backup)).toContain('cannot keep a bitmap');
      await expectNothing();
    });

    it('recover removes a bitmap that no point counts, and no other', async () => {
      const image = folder.file('vda.qcow2');
      const [needed] = await listBitmaps(image);
      const dead = needed!.replace(/[0-9a-f]{8}$/, 'deadbeef');
      await addBitmap(image, dead);
      await addBitmap(image, 'somebody-else');
      const recover = ['recover', ...images(), ...repo(), '--name', 'web1', ...state()];
      const { actions } = await nbdeltaJson<RecoverResult>(recover);
      expect(actions.map(({ what, name }) => [what, name])).toEqual([['bitmap-removed', dead]]);
      expect(await listBitmaps(image)).toContain('somebody-else');
      expect(await listBitmaps(image)).toContain(needed);
      await runOk('qemu-img', ['bitmap', '--remove', image, 'somebody-else']);
      expect((await nbdeltaJson<RecoverResult>(recover)).actions).toEqual([]);
    });

    it('a session of an encrypted image is ended without its options', async () => {
      const [image, key] = [folder.file('locked'), folder.file('key')];
      await writeFile(key, 'sesame');
      const secret = ['--object', `secret,id=s,file=${key}`];
      const options = 'encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10';
      await createEncrypted(['-f', 'qcow2', ...secret, '-o', options, image, '1M']);
      const begin = [
        'session',
        'begin',
        `image:${image}`,
        '--secret',
        key,
        '--image-format',
        'qcow2',
        ...places(),
      ];
      const first = await nbdeltaJson<BegunSession>(begin);
      await nbdeltaOk(['session', 'end', first.token, '--commit', ...state()]);
      const second = await nbdeltaJson<BegunSession>([...begin, '--since', first.checkpoint!]);
      const { actions } = await nbdeltaJson<EndedSession>([
        'session',
        'end',
        second.token,
        '--commit',
        ...state(),
      ]);
      expect(actions.map(({ what }) => what)).toContain('bitmap-removed');
      expect((await nbdeltaJson<SessionListing>(['session', 'list', ...state()])).sessions).toEqual([]);
      await expectNothing();
    });

    const doctor = async (...args: readonly string[]) => {
      const { code, stdout, stderr } = await nbdelta(['doctor', ...args, ...places(), '--json']);
      expect(stderr).toBe('');
      const diagnosis = JSON.parse(stdout) as Diagnosis;
      const problems = diagnosis.findings.filter(({ status }) => status === 'problem');
      for (const { fix } of problems) expect(fix).toBeTruthy();
      return { code, ...diagnosis, problems: problems.map(({ id }) => id) };
    };

    it('doctor: a qcow2 can be read incrementally, a raw one cannot', async () => {
      const [vda, vdb] = images() as [string, string];
      expect(await doctor(vda)).toMatchObject({
        ...{ code: 0, guest: { name: 'vda', state: 'off' } },
        verdict: {
          full: true,
          incremental: true,
          quiesce: null,
          text: 'can be backed up, incrementally as well',
        },
      });
      expect(await doctor(vdb)).toMatchObject({
        code: 0,
        verdict: {
          full: true,
          incremental: false,
          text: 'can be backed up, but everything is read each time',
        },
      });
      const both = await doctor(vda, vdb);
      expect(both.verdict.text).toBe('can be backed up, incrementally as well, except for vdb');
      expect(both.findings.filter(({ id }) => id === 'disk')).toMatchObject([
        { disk: 'vda', status: 'ok' },
        { disk: 'vdb', status: 'warning', fix: expect.stringContaining('qcow2') },
      ]);
      await expectNothing();
    });

    it('doctor: names bitmaps with their health', async () => {
      const image = folder.file('bitmaps.qcow2');
      await createQcow2(image, SIZE);
      await addBitmap(image, 'theirs');
      await runOk('qemu-img', ['bitmap', '--add', '--disable', image, 'stopped']);
      const { findings } = await doctor(`image:${image}`);
      expect(findings.filter(({ id }) => id === 'bitmap')).toMatchObject([
        { status: 'ok', text: expect.stringMatching(/theirs \(somebody else's\) records/) },
        { status: 'info', text: expect.stringMatching(/stopped .* is disabled/) },
      ]);
    });

    it('doctor: what is marked as corrupt takes no bitmap', async () => {
      const image = folder.file('corrupt.qcow2');
      await createQcow2(image, SIZE);
      const bytes = await readFile(image);
      // qcow2's incompatible_features: bit 1, big-endian at 72.
      bytes[79]! |= 2;
      await writeFile(image, bytes);
      expect(await doctor(`image:${image}`)).toMatchObject({ code: 62, problems: ['image-access'] });
      await nbdeltaFails(['backup', `image:${image}`, ...repo('corrupted'), ...places()], {
        ...{ exitCode: 55, code: 'HYPERVISOR_FAILED' },
      });
      await expectNothing();
    });

    describeWith(['qemu-system-x86_64'], 'while a guest runs', () => {
      it.each(['qcow2', 'raw'] as const)(
        '%s: the doctor finds it unfit, and a backup is refused',
        async format => {
          const image = folder.file(`busy.${format}`);
          await runOk('qemu-img', ['create', '-q', '-f', format, image, String(SIZE)]);
          await using _guest = await startImageUser(image, { format });
          expect(await doctor(`image:${image}`)).toMatchObject({ code: 62, problems: ['image-lock'] });
          const backup = ['backup', `image:${image}`, ...repo('busy'), ...places()];
          await nbdeltaFails(backup, { exitCode: 51, code: 'IMAGE_IN_USE' });
          await expectNothing();
        },
      );
    });

    describe('that cannot be', () => {
      beforeAll(async () => {
        await writeFile(folder.file('empty'), '');
        await writeFile(folder.file('text.qcow2'), 'not an image\n'.repeat(100));
        await runOk('mkfifo', [folder.file('fifo')]);
        await mkdir(folder.file('folder'));
      });

      it.each([
        ['a folder', 'folder', [], 50, 'GUEST_UNKNOWN'],
        ['not there', 'nowhere.qcow2', [], 50, 'GUEST_UNKNOWN'],
        ['below a file', 'empty/x', [], 50, 'GUEST_UNKNOWN'],
        ['empty', 'empty', [], 50, 'GUEST_UNKNOWN'],
        ['a FIFO', 'fifo', [], 50, 'GUEST_UNKNOWN'],
        ['not of its format', 'text.qcow2', [], 50, 'GUEST_UNKNOWN'],
        ['not of the format that is given', 'vdb.raw', ['--image-format', 'qcow2'], 50, 'GUEST_UNKNOWN'],
        ['of an unknown format', 'vdb.raw', ['--image-format', 'floppy'], 2, 'USAGE'],
      ] as const)('%s', async (_, name, args, exitCode, code) => {
        for (const command of ['backup', 'doctor', 'session begin', 'recover']) {
          const words = [...command.split(' '), `image:${folder.file(name)}`, ...args];
          const given = command === 'recover' ? state() : places();
          const more = command === 'backup' ? repo('none') : [];
          const error = await nbdeltaFails([...words, ...given, ...more], { exitCode, code });
          expect(error.hint).toBeTruthy();
        }
        await expectNothing();
      });

      it('frozen, or the same twice', async () => {
        const image = `image:${folder.file('vda.qcow2')}`;
        for (const args of [
          [image, '--quiesce'],
          [`a=${image}`, `b=${image}`],
          [image, image],
        ]) {
          await nbdeltaFails(['backup', ...args, ...repo('none'), ...places()], {
            exitCode: 2,
            code: 'USAGE',
          });
        }
        await expectNothing();
      });
    });

    describe('as another user', () => {
      const NOBODY = 65_534;
      const asNobody = (args: readonly string[]) =>
        run('setpriv', [
          '--reuid',
          String(NOBODY),
          '--regid',
          String(NOBODY),
          '--clear-groups',
          process.execPath,
          BIN,
          ...args,
        ]);

      it('who may not read it, or only that', async context => {
        const probe =
          process.geteuid?.() === 0 ? await asNobody(['--version']).catch(() => undefined) : undefined;
        if (probe?.code !== 0)
          return context.skip('needs root, setpriv, and a checkout that others may read');
        const [image, home] = [folder.file('private.qcow2'), folder.file('home')];
        await createQcow2(image, SIZE);
        await chmod(folder.path, 0o755);
        await mkdir(home);
        await chmod(home, 0o777);
        const own = ['--state-dir', `${home}/state`, '--socket-dir', `/tmp/nbd-${process.pid}`];
        const backup = ['backup', `image:${image}`, '--repo', `${home}/repo`, ...own];
        await chmod(image, 0o600);
        const unreadable = await asNobody(backup);
        expect(unreadable).toMatchObject({ code: 54, stdout: '' });
        expect(unreadable.stderr).toMatch(/^nbdelta: no permission for [^\n]+\n {2}hint: [^\n]+\n$/);
        expect(await filesIn(`${home}/repo`)).toEqual([]);
        await chmod(image, 0o644);
        const before = await readFile(image);
        const unwritable = await asNobody(backup);
        expect(unwritable).toMatchObject({ code: 54, stdout: '' });
        expect(unwritable.stderr).toMatch(/^nbdelta: [^\n]+\n {2}hint: [^\n]*--level copy[^\n]*\n$/);
        expect(await filesIn(`/tmp/nbd-${process.pid}`)).toEqual([]);
        const examined = await asNobody(['doctor', `image:${image}`, ...own, '--json']);
        expect(examined.code).toBe(62);
        expect((JSON.parse(examined.stdout) as Diagnosis).findings).toContainEqual(
          expect.objectContaining({
            id: 'image-access',
            status: 'problem',
            fix: expect.stringContaining('--level copy'),
          }),
        );
        expect(await asNobody([...backup, '--level', 'copy'])).toMatchObject({ code: 0 });
        expectSameBytes(await readFile(image), before, 'the image');
        await runOk('rmdir', [`/tmp/nbd-${process.pid}`]);
      });
    });
  },
);
