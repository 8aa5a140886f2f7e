import { chmod, mkdir, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { newRunName } from '#nbdelta/hypervisor/run-name.js';
import type { JournalEntry } from '#nbdelta/operations/journal/journal-entry.js';
import { defaultStateFolder, StateFolder } from '#nbdelta/operations/journal/state-folder.js';
import { type TempFolder, tempFolder } from '../../../support/temp-folder.js';

function entry(run: string, startedAt = '2026-11-23T10:00:00.000Z'): JournalEntry {
  return {
    version: 1,
    purpose: 'session',
    record: {
      ...{ version: 1, run, kind: 'libvirt', sources: ['libvirt:web1'], connect: null, state: 'running' },
      guest: { name: 'web1', id: null },
      ...{ startedAt, checkpoint: run, since: null, disks: [], warnings: [], details: { pid: 12 } },
    },
    ...{ process: null, repository: null, machine: null, expires: '2026-11-24T10:00:00.000Z' },
  };
}

describe('the state folder', () => {
  let folder: TempFolder;
  let state: StateFolder;
  beforeEach(async () => {
    folder = await tempFolder();
    state = new StateFolder(folder.file('state'));
  });
  afterEach(() => folder[Symbol.asyncDispose]());

  it('is empty before the first run, without being made', async () => {
    expect(await state.list()).toEqual({ entries: [], unreadable: [] });
    await expect(stat(state.path)).rejects.toThrow('ENOENT');
  });

  it('remembers runs, oldest first, and forgets them', async () => {
    const [a, b] = [newRunName('0123abcd').text, newRunName('0123abcd').text];
    await state.put(entry(a, '2026-11-23T10:00:00.000Z'));
    await state.put(entry(b, '2026-11-23T09:00:00.000Z'));
    expect((await state.list()).entries.map(({ record }) => record.run)).toEqual([b, a]);
    expect(await state.get(a)).toEqual(entry(a));
    await state.remove(a);
    await state.remove(a);
    expect(await state.get(a)).toBeUndefined();
  });

  it('replaces an entry whole, and leaves no temporary file', async () => {
    const run = newRunName('0123abcd').text;
    await state.put(entry(run));
    const second = entry(run, '2026-11-23T11:00:00.000Z');
    await state.put(second);
    expect(await state.get(run)).toEqual(second);
    expect(await readdir(join(state.path, 'runs'))).toEqual([`${run}.json`]);
  });

  it('is for its user alone: a record says where disks can be read', async () => {
    const run = newRunName('0123abcd').text;
    await state.put(entry(run));
    const file = await stat(join(state.path, 'runs', `${run}.json`));
    expect(file.mode & 0o077).toBe(0);
    expect((await stat(join(state.path, 'runs'))).mode & 0o077).toBe(0);
  });

  it('tells of entries that cannot be read, and lists the others', async () => {
    const [good, torn, other] = Array.from({ length: 3 }, () => newRunName('0123abcd').text);
    await state.put(entry(good!));
    await mkdir(join(state.path, 'runs'), { recursive: true });
    await writeFile(join(state.path, 'runs', `${torn}.json`), '{"version":1');
    await writeFile(join(state.path, 'runs', `${other}.json`), JSON.stringify(entry(good!)));
    await writeFile(join(state.path, 'runs', 'notes.txt'), 'mine');
    const { entries, unreadable } = await state.list();
    expect(entries.map(({ record }) => record.run)).toEqual([good]);
    expect(unreadable.map(({ run }) => run).sort()).toEqual([torn, other].sort());
  });

  it('is an error, not an endless loop, where no folder can be made', async () => {
    const put = new StateFolder('/proc/nbdelta').put(entry(newRunName('0123abcd').text));
    await expect(put).rejects.toMatchObject({ code: 'STORAGE_FAILED' });
  });

  it('is one clear error where a file is in its place', async () => {
    await writeFile(state.path, '');
    const put = state.put(entry(newRunName('0123abcd').text));
    await expect(put).rejects.toMatchObject({
      code: 'STORAGE_FAILED',
      message: expect.stringContaining('/runs/'),
    });
  });

  it('takes no token for a path', async () => {
    await chmod(folder.path, 0o700);
    await writeFile(folder.file('x.json'), JSON.stringify(entry(newRunName('0123abcd').text)));
    expect(await state.get('../../x')).toBeUndefined();
  });

  it('is where the XDG base directory specification says', () => {
    expect(defaultStateFolder({ XDG_STATE_HOME: '/s' })).toBe('/s/nbdelta');
    expect(defaultStateFolder({ XDG_STATE_HOME: 'relative' })).toMatch(/^\/.*\/\.local\/state\/nbdelta$/);
  });
});
