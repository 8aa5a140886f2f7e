/** Backups that are stopped, locked out, out of space or killed: the repository is as before, and goes on. */
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type BackupOptions, backup, listPoints, verify } from '#nbdelta/index.js';
import { GatedSource } from '../support/gated-source.js';
import { run, runOk, startProcess, waitFor } from '../support/processes.js';
import { codeOf, expectSameBytes, fileDigests, restoreBytes } from '../support/restore-check.js';
import { type TempFolder, tempFolder } from '../support/temp-folder.js';
import { BITMAP, backUpGuests, served, TrackedGuest } from '../support/tracked-guest.js';

const MIB = 2 ** 20;

let folder: TempFolder;
let guest: TrackedGuest;
beforeEach(async () => {
  folder = await tempFolder();
  guest = new TrackedGuest(24 * MIB);
  guest.write(0, randomBytes(24 * MIB));
});
afterEach(() => folder[Symbol.asyncDispose]());

const repository = () => folder.file('repo');

function backUp(uri: string, options: Partial<BackupOptions> = {}) {
  return backup({
    repository: repository(),
    machine: 'guest',
    disks: [{ name: 'vda', uri, bitmap: BITMAP }],
    ...options,
  });
}

/** The next backup works, is right, and nothing else is in the repository. */
async function expectGoesOn(): Promise<void> {
  guest.write(1000, randomBytes(1000));
  const { point } = await backUpGuests(folder, { vda: guest });
  expectSameBytes(await restoreBytes(repository(), `guest@${point.id}`), guest.content, point.id);
  expect(await verify({ repository: repository() })).toMatchObject({ ok: true });
  const listing = await listPoints({ repository: repository() });
  expect(readdirSync(folder.file('repo', 'guest')).sort()).toEqual(
    ['machine.json', ...pointFolders()].sort(),
  );
  expect(JSON.stringify(listing)).toContain(point.id);
}

function pointFolders(): string[] {
  return readdirSync(folder.file('repo', 'guest')).filter(name => /^\d{8}T/.test(name));
}

describe('stopped on request', () => {
  it.each(['map', 'data', 'finish'] as const)('during %s, of an incremental', async phase => {
    await backUpGuests(folder, { vda: guest });
    guest.write(0, randomBytes(12 * MIB));
    const before = await fileDigests(repository());
    for (const after of [1, 2, 5]) {
      const stop = new AbortController();
      let told = 0;
      const onProgress: BackupOptions['onProgress'] = progress => {
        if (progress.phase === phase && ++told === (phase === 'data' ? after : 1)) stop.abort('enough');
      };
      const stopped = served(folder, { vda: guest.snapshot() }, uriOf =>
        backUp(uriOf('vda'), { signal: stop.signal, onProgress }),
      );
      expect(await codeOf(stopped)).toBe('ABORTED');
      expect(await fileDigests(repository())).toEqual(before);
      expect(pointFolders()).toHaveLength(1);
    }
    await expectGoesOn();
  });

  it('before it begins, leaves nothing at all', async () => {
    const stopped = served(folder, { vda: guest.snapshot() }, uriOf =>
      backUp(uriOf('vda'), { signal: AbortSignal.abort() }),
    );
    expect(await codeOf(stopped)).toBe('ABORTED');
    expect(existsSync(repository())).toBe(false);
  });

  it('while the server is silent, at once', async () => {
    const source = new GatedSource(guest.snapshot(), 4 * MIB);
    const stop = new AbortController();
    await served(folder, { vda: source }, async uriOf => {
      const stopped = codeOf(backUp(uriOf('vda'), { signal: stop.signal }));
      await waitFor(() => source.waiting > 0, 'a read');
      const asked = performance.now();
      stop.abort();
      expect(await stopped).toBe('ABORTED');
      expect(performance.now() - asked).toBeLessThan(3000);
      source.open();
    });
    expect(Object.keys(await fileDigests(repository()))).toEqual(['nbdelta-repository.json']);
    await expectGoesOn();
  });

  it('by who confirms: no point', async () => {
    await backUpGuests(folder, { vda: guest });
    const before = await fileDigests(repository());
    const confirm = () => Promise.reject(new Error('the job is gone'));
    const failed = served(folder, { vda: guest.snapshot() }, uriOf => backUp(uriOf('vda'), { confirm }));
    await expect(failed).rejects.toThrow('the job is gone');
    expect(await fileDigests(repository())).toEqual(before);
  });
});

describe('a connection that is cut', () => {
  it('in mid-read ends the backup, and the repository is as before', async () => {
    await backUpGuests(folder, { vda: guest });
    guest.write(0, randomBytes(20 * MIB));
    const before = await fileDigests(repository());
    const source = new GatedSource(guest.snapshot(), 8 * MIB);
    let cut: Promise<string> | undefined;
    await served(folder, { vda: source }, async uriOf => {
      cut = codeOf(backUp(uriOf('vda'), { retries: 1 }));
      await waitFor(() => source.waiting > 0, 'a read');
      source.open();
    });
    expect(await cut).toMatch(/^NBD_CONNECT/);
    expect(await fileDigests(repository())).toEqual(before);
    await expectGoesOn();
  });
});

describe('at once', () => {
  it('of two backups of one machine one is told that it is locked; both can go on afterwards', async () => {
    const source = new GatedSource(guest.snapshot());
    await served(folder, { vda: source }, async uriOf => {
      const first = backUp(uriOf('vda'));
      await waitFor(() => source.waiting > 0, 'a read');
      expect(await codeOf(backUp(uriOf('vda')))).toBe('LOCKED');
      source.open();
      expect((await first).point.level).toBe('full');
    });
    await expectGoesOn();
  });

  it('many machines are backed up into a new repository', async () => {
    const names = ['a', 'b', 'c', 'd'];
    const snapshot = guest.snapshot();
    await served(folder, { vda: snapshot }, uriOf =>
      Promise.all(names.map(machine => backUp(uriOf('vda'), { machine, threads: 1 }))),
    );
    for (const name of names) expectSameBytes(await restoreBytes(repository(), name), guest.content, name);
  });
});

describe('a repository that is full', () => {
  it.for([false, true])(
    'ends the backup and is left as it was (allowPartial %s)',
    async (allowPartial, context) => {
      await mkdir(repository());
      const mounted =
        process.getuid?.() === 0 &&
        (await run('mount', ['-t', 'tmpfs', '-o', 'size=12m', 'none', repository()])).code === 0;
      if (!mounted) context.skip('mounting a tmpfs needs root');
      try {
        guest.zero(2 * MIB, 22 * MIB);
        await backUpGuests(folder, { vda: guest });
        guest.write(0, randomBytes(24 * MIB));
        const before = await fileDigests(repository());
        const small = new TrackedGuest(MIB);
        const sources = { vda: guest.snapshot(), vdb: small.snapshot() };
        const failed = served(folder, sources, uriOf => {
          const disks = [
            { name: 'vda', uri: uriOf('vda'), bitmap: BITMAP },
            { name: 'vdb', uri: uriOf('vdb') },
          ];
          return backup({ repository: repository(), machine: 'guest', disks, allowPartial });
        });
        expect(await codeOf(failed)).toBe('STORAGE_FAILED');
        expect(await fileDigests(repository())).toEqual(before);
        guest.zero(MIB, 23 * MIB);
        await expectGoesOn();
      } finally {
        await runOk('umount', [repository()]);
      }
    },
  );
});

describe('a process that is killed', () => {
  const CHILD = `
    import { backup } from ${JSON.stringify(new URL('../../dist/index.js', import.meta.url).href)};
    const [repository, uri, bitmap] = process.argv.slice(2);
    await backup({ repository, machine: 'guest', disks: [{ name: 'vda', uri, bitmap }] });
  `;

  it('in mid-write leaves a folder that is no point; the next backup takes its lock over and cleans up', async () => {
    await backUpGuests(folder, { vda: guest });
    guest.write(0, randomBytes(24 * MIB));
    const script = folder.file('child.mjs');
    await writeFile(script, CHILD);
    // Every pack is at most 8 MiB: one is on its way to the disk when the reads stop.
    const source = new GatedSource(guest.snapshot(), 20 * MIB);
    await served(folder, { vda: source }, async uriOf => {
      const child = await startProcess(process.execPath, [script, repository(), uriOf('vda'), BITMAP], {
        ready: () => pointFolders().some(id => volumeBytes(id) > 0 && !isPoint(id)),
      });
      await child.kill();
      source.open();
    });
    expect(existsSync(folder.file('repo', 'guest', 'lock.json'))).toBe(true);
    const torn = pointFolders().filter(id => !isPoint(id));
    expect(torn).toHaveLength(1);
    expect(await verify({ repository: repository() })).toMatchObject({ ok: true, points: 1 });
    await expectGoesOn();
    expect(pointFolders()).not.toContain(torn[0]);
  });

  function isPoint(id: string): boolean {
    return existsSync(folder.file('repo', 'guest', id, 'manifest.json'));
  }

  function volumeBytes(id: string): number {
    const path = join(folder.file('repo', 'guest', id), 'vda.0001.tar');
    return existsSync(path) ? statSync(path).size : 0;
  }
});
