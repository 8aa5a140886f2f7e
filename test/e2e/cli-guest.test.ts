/** The commands that drive a guest's job, as processes, on a plain QEMU: backup, hooks, --confirm, session, recover. */
import { readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { BegunSession, EndedSession, Manifest, RecoverResult, SessionListing } from '#nbdelta/index.js';
import type { GuestHarness } from '../conformance/guest-harness.js';
import { startQmpGuest } from '../conformance/qmp-harness.js';
import { nbdinfoMap } from '../support/nbd-tools.js';
import { describeWith } from '../support/peers.js';
import { type TempFolder, tempFolder } from '../support/temp-folder.js';
import { nbdelta, nbdeltaFails, nbdeltaJson, nbdeltaOk } from './nbdelta-command.js';

interface BackupJson {
  readonly point: Manifest;
  readonly warnings: Manifest['warnings'];
}

describeWith(['qemu-system-x86_64', 'qemu-img', 'stdbuf', 'nbdinfo'], 'commands that drive a job', () => {
  let guest: GuestHarness;
  let folder: TempFolder;
  const job = () => {
    const { scratch, socketDir } = guest.options;
    return ['--scratch', scratch!, '--scratch-reserve', '1M', '--socket-dir', socketDir!];
  };
  const state = () => ['--state-dir', folder.file('state')];
  const backup = () => [
    ...['backup', String(guest.source), '--repo', folder.file('repo'), '--name', 'guest'],
    ...job(),
    ...state(),
  ];

  beforeAll(async () => {
    folder = await tempFolder();
    guest = await startQmpGuest();
  });
  afterAll(async () => {
    await guest?.[Symbol.asyncDispose]();
    await folder[Symbol.asyncDispose]();
  });

  it('backup takes a full, then an incremental, and says so', async () => {
    const first = await nbdeltaJson<BackupJson>(backup());
    expect(first.point).toMatchObject({ level: 'full', guest: { kind: 'qmp', state: 'paused' } });
    await guest.fill('disk-vda', 65_536, 65_536, 7);
    const text = await nbdeltaOk(backup());
    expect(text).toContain('incremental');
    expect(text).toContain('64.0 KiB');
    expect(await guest.leftovers()).toEqual([]);
  });

  it('backup of one disk leaves the others out', async () => {
    const { point } = await nbdeltaJson<BackupJson>([...backup(), '--level', 'copy', '--disk', 'disk-vdb']);
    expect(point.disks.map(({ name }) => name)).toEqual(['disk-vdb']);
  });

  it('an unknown disk is named, with those that there are', async () => {
    const args = [...backup(), '--disk', 'sda'];
    const error = await nbdeltaFails(args, { exitCode: 2, code: 'USAGE' });
    expect(`${error.message} ${error.hint}`).toMatch(/sda.*disk-vda.*disk-vdb/);
  });

  it('hooks run around it, with what there is to know', async () => {
    const seen = folder.file('hooks');
    const say = `echo "$NBDELTA_MACHINE $NBDELTA_RESULT" >> '${seen}'`;
    await nbdeltaOk([...backup(), '--pre-hook', say, '--post-hook', say]);
    expect(await readFile(seen, 'utf8')).toBe('guest \nguest committed\n');
  });

  it('a pre-hook that fails ends it before anything is begun', async () => {
    const args = [...backup(), '--pre-hook', 'echo no database; exit 3'];
    const error = await nbdeltaFails(args, { exitCode: 60, code: 'HOOK_FAILED' });
    expect(error.message).toMatch(/exit code 3.*no database/);
    expect(await guest.leftovers()).toEqual([]);
  });

  it('a post-hook that fails does not undo the point', async () => {
    const { point, warnings } = await nbdeltaJson<BackupJson>([...backup(), '--post-hook', 'exit 4']);
    expect(point.level).toBe('incremental');
    expect(warnings.map(({ code }) => code)).toEqual(['post-hook-failed']);
  });

  it('--confirm has the last word', async () => {
    const args = [...backup(), '--confirm', 'echo it ended >&2; exit 1'];
    const error = await nbdeltaFails(args, { exitCode: 57, code: 'CONFIRM_REFUSED' });
    expect(error.message).toContain('it ended');
    expect(await guest.leftovers()).toEqual([]);
    await nbdeltaOk([...backup(), '--confirm', 'exit 0']);
  });

  it.each([
    ['--bitmap', 'x'],
    ['--since', 'x'],
    ['--checkpoint', 'x'],
  ])('%s is refused: the front-end knows it', async (...option) => {
    await nbdeltaFails([...backup(), ...option], { exitCode: 2, code: 'USAGE' });
  });

  it.each([
    ['--quiesce'],
    ['--scratch', '/tmp'],
    ['--connect', 'qemu:///system'],
    ['--pre-hook', 'true'],
    ['--disk', 'vda'],
  ])('%s is refused with an NBD URI', async (...option) => {
    const args = ['backup', 'vda=nbd://localhost/x', '--repo', folder.file('none'), '--name', 'x', ...option];
    await nbdeltaFails(args, { exitCode: 2, code: 'USAGE' });
  });

  it.each(['qmp:/nonexistent/socket', 'image:/nonexistent.qcow2'])('%s is one clear line', async source => {
    const result = await nbdelta(['backup', source, '--repo', folder.file('none'), ...state()]);
    expect(result.code).toBeGreaterThanOrEqual(50);
    expect(result.stderr.split('\n').filter(line => line.startsWith('nbdelta: '))).toHaveLength(1);
  });

  it('a session can be read by anybody, and counts when it is committed', async () => {
    const begin = ['session', 'begin', String(guest.source), ...job(), ...state()];
    const first = await nbdeltaJson<BegunSession>(begin);
    expect(first.disks.map(({ context }) => context)).toEqual([null, null]);
    const listed = await nbdeltaJson<SessionListing>(['session', 'list', ...state()]);
    expect(listed.sessions.map(({ token, expired }) => ({ token, expired }))).toEqual([
      { token: first.token, expired: false },
    ]);
    await nbdeltaOk(['session', 'check', first.token, ...state()]);
    const end = ['session', 'end', first.token, '--commit', ...state()];
    expect(await nbdeltaJson<EndedSession>(end)).toMatchObject({ checkpoint: first.checkpoint });

    await guest.fill('disk-vdb', 3 * 65_536, 65_536, 9);
    const second = await nbdeltaJson<BegunSession>([...begin, '--since', first.checkpoint!]);
    const disk = second.disks.find(({ name }) => name === 'disk-vdb')!;
    const dirty = (await nbdinfoMap(disk.uri, disk.context!)).filter(({ type }) => type === 1);
    expect(dirty).toMatchObject([{ offset: 3 * 65_536, length: 65_536 }]);
    await nbdeltaOk(['session', 'end', second.token, '--abort', ...state()]);
    const left = Object.values(await guest.checkpoints()).flat();
    expect(left).toContain(first.checkpoint);
    expect(left).not.toContain(second.checkpoint);
    expect(await guest.leftovers()).toEqual([]);
  });

  it('a session whose job somebody ended cannot be committed, and is aborted', async () => {
    const begun = await nbdeltaJson<BegunSession>([
      ...['session', 'begin', String(guest.source)],
      ...job(),
      ...state(),
    ]);
    await guest.cancelJob();
    const result = await nbdelta(['session', 'end', begun.token, '--commit', ...state()]);
    expect(result.code).toBe(57);
    expect(await guest.leftovers()).toEqual([]);
    expect(Object.values(await guest.checkpoints()).flat()).not.toContain(begun.checkpoint);
    const again = ['session', 'end', begun.token, '--commit', ...state()];
    await nbdeltaFails(again, { exitCode: 61, code: 'SESSION_UNKNOWN' });
  });

  it('recover leaves a session that lasts, and ends one that expired', async () => {
    const begin = ['session', 'begin', String(guest.source), ...job(), ...state()];
    const lasting = await nbdeltaJson<BegunSession>(begin);
    const recover = ['recover', String(guest.source), ...state()];
    const first = await nbdeltaJson<RecoverResult>(recover);
    expect(first.actions.map(({ what, name }) => [what, name])).toContainEqual(['left', lasting.token]);
    await nbdeltaOk(['session', 'check', lasting.token, ...state()]);

    const file = folder.file(`state/runs/${lasting.token}.json`);
    const entry = JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>;
    await writeFile(file, JSON.stringify({ ...entry, expires: '2020-01-01T00:00:00.000Z' }));
    const second = await nbdeltaJson<RecoverResult>(recover);
    expect(second.actions.map(({ what }) => what)).toContain('job-ended');
    expect(await guest.leftovers()).toEqual([]);
    expect((await nbdeltaJson<SessionListing>(['session', 'list', ...state()])).sessions).toEqual([]);
  });

  it('recover --force ends a session that nothing is remembered of', async () => {
    const other = ['--state-dir', folder.file('other-state')];
    const begin = ['session', 'begin', String(guest.source), ...job(), ...other];
    const begun = await nbdeltaJson<BegunSession>(begin);
    const place = ['--scratch', guest.options.scratch!];
    await nbdeltaOk(['recover', String(guest.source), ...place, ...state()]);
    expect(await guest.leftovers()).not.toEqual([]);
    await nbdeltaOk(['recover', String(guest.source), ...place, ...state(), '--force']);
    const left = (await guest.leftovers()).filter(
      name => name.includes(begun.token) && !name.startsWith('file'),
    );
    expect(left).toEqual([]);
  });

  it("recover --force at one guest leaves another guest's session alone, in the same folders", async () => {
    await using other = await startQmpGuest();
    const { scratch, socketDir } = guest.options;
    const places = ['--scratch', scratch!, '--scratch-reserve', '1M', '--socket-dir', socketDir!];
    const begun = await nbdeltaJson<BegunSession>([
      ...['session', 'begin', String(other.source)],
      ...places,
      ...state(),
    ]);
    const force = [
      'recover',
      String(guest.source),
      '--force',
      '--scratch',
      scratch!,
      '--socket-dir',
      socketDir!,
    ];
    await nbdeltaOk([...force, '--state-dir', folder.file('empty-state')]);
    await nbdeltaOk(['session', 'check', begun.token, ...state()]);
    expect((await nbdinfoMap(begun.disks[0]!.uri)).length).toBeGreaterThan(0);
    await nbdeltaOk(['session', 'end', begun.token, '--abort', ...state()]);
  });
});
