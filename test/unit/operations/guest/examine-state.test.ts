import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Finding } from '#nbdelta/hypervisor/front-end.js';
import { newRunName } from '#nbdelta/hypervisor/run-name.js';
import { examineState } from '#nbdelta/operations/guest/examine-state.js';
import type { JournalEntry } from '#nbdelta/operations/journal/journal-entry.js';
import { StateFolder } from '#nbdelta/operations/journal/state-folder.js';
import { procProbe } from '#nbdelta/repository/process-identity.js';
import { type TempFolder, tempFolder } from '../../../support/temp-folder.js';

const GUEST = { kind: 'libvirt', id: 'f2480aed-d07b-40ca-8829-ba2e4e91bb50' } as const;

function entry(change: Partial<JournalEntry>, id: string | null = GUEST.id): JournalEntry {
  const run = newRunName('0123abcd').text;
  return {
    ...{ version: 1, purpose: 'backup', process: null, repository: null, machine: null, expires: null },
    record: {
      ...{ version: 1, run, kind: 'libvirt', sources: ['libvirt:web1'], connect: null, state: 'running' },
      ...{ guest: { name: 'web1', id }, startedAt: '2026-11-23T10:00:00.000Z' },
      ...{ checkpoint: run, since: null, disks: [], warnings: [], details: {} },
    },
    ...change,
  };
}

describe('the state folder, for the doctor', () => {
  let folder: TempFolder;
  let state: StateFolder;
  beforeEach(async () => {
    folder = await tempFolder();
    state = new StateFolder(folder.file('state'));
  });
  afterEach(() => folder[Symbol.asyncDispose]());

  const examine = async (guest: Parameters<typeof examineState>[1] = GUEST): Promise<readonly Finding[]> => {
    const findings: Finding[] = [];
    for await (const finding of examineState(state, guest, ['libvirt:web1'])) findings.push(finding);
    return findings;
  };

  it('need not be there, and is not made', async () => {
    expect(await examine()).toMatchObject([{ id: 'state-folder', status: 'ok' }]);
    expect(await readdir(folder.path)).toEqual([]);
  });

  it('that cannot be made is a problem', async () => {
    await writeFile(folder.file('file'), '');
    state = new StateFolder(folder.file('file', 'state'));
    expect(await examine()).toMatchObject([
      { id: 'state-folder', status: 'problem', fix: expect.any(String) },
    ]);
  });

  it.each([
    ['a backup that died', { process: null }, 'run-left', 'warning'],
    [
      'an abandoned session',
      { purpose: 'session', expires: '2020-01-01T00:00:00.000Z' },
      'run-left',
      'warning',
    ],
    ['a session', { purpose: 'session', expires: '2999-01-01T00:00:00.000Z' }, 'run-alive', 'problem'],
  ] as const)('remembers %s of this guest', async (_name, change, id, status) => {
    await state.put(entry(change));
    const [, finding] = await examine();
    expect(finding).toMatchObject({ id, status, fix: expect.any(String) });
  });

  it('remembers a backup that is running', async () => {
    await state.put(entry({ process: await procProbe.self() }));
    expect((await examine())[1]).toMatchObject({
      id: 'run-alive',
      text: expect.stringContaining(`${process.pid}`),
    });
  });

  it("leaves out other guests', by id where there is one and by source where there is none", async () => {
    await state.put(entry({}, '00000000-d07b-40ca-8829-ba2e4e91bb50'));
    expect(await examine()).toHaveLength(1);
    expect(await examine({ kind: 'libvirt', id: null })).toHaveLength(2);
    expect(await examine({ kind: 'qmp', id: null })).toHaveLength(1);
  });

  it('with an entry that cannot be read', async () => {
    await mkdir(folder.file('state', 'runs'), { recursive: true });
    await writeFile(folder.file('state', 'runs', `${newRunName('0123abcd').text}.json`), 'no');
    expect((await examine())[1]).toMatchObject({ id: 'run-unreadable', status: 'warning' });
  });
});
