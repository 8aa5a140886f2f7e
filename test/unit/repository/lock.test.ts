import { spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseProcessStat } from '#nbdelta/process/process-stat.js';
import { LocalBackend } from '#nbdelta/repository/local-backend.js';
import { acquireLock, type MachineLock } from '#nbdelta/repository/lock.js';
import {
  isCertainlyGone,
  type ProcessIdentity,
  type ProcessProbe,
  type ProcessStart,
  procProbe,
} from '#nbdelta/repository/process-identity.js';
import { initRepository } from '#nbdelta/repository/repository.js';

let root: string;
let backend: LocalBackend;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'nbdelta-lock-'));
  backend = new LocalBackend(root);
  await backend.makeFolder('web1');
});
afterEach(() => rm(root, { recursive: true }));

const HERE: ProcessIdentity = {
  host: 'backup1',
  hostId: 'h1',
  bootId: 'b1',
  pidNamespace: 'pid:[1]',
  pid: 100,
  processStart: '5000',
};

function probe(self: Partial<ProcessIdentity>, start: ProcessStart = { kind: 'gone' }): ProcessProbe {
  return { self: async () => ({ ...HERE, pid: 200, ...self }), startOf: async () => start };
}

describe('isCertainlyGone', () => {
  const running = (start: string): ProcessStart => ({ kind: 'running', start });
  it.each<[string, boolean, Partial<ProcessIdentity>, ProcessStart]>([
    ['the process ended', true, {}, { kind: 'gone' }],
    ['another process has its pid', true, {}, running('9000')],
    ['it runs', false, {}, running('5000')],
    ['nothing can be seen of it', false, {}, { kind: 'unknown' }],
    ['another host', false, { host: 'backup2' }, { kind: 'gone' }],
    ['the host was booted again', true, { bootId: 'b2' }, running('5000')],
    ['another host of the same name', false, { bootId: 'b2', hostId: 'h2' }, { kind: 'gone' }],
    ['a boot later, on a host without an id', false, { bootId: 'b2', hostId: null }, { kind: 'gone' }],
    ['another container', false, { pidNamespace: 'pid:[2]' }, { kind: 'gone' }],
    ['no /proc', false, { bootId: null, pidNamespace: null }, { kind: 'gone' }],
  ])('%s: %s', async (_, expected, self, start) => {
    expect(await isCertainlyGone(HERE, probe(self, start))).toBe(expected);
  });

  it('a holder without a start time is not gone while its pid is in use', async () => {
    expect(await isCertainlyGone({ ...HERE, processStart: null }, probe({}, running('1')))).toBe(false);
  });

  it('reads /proc/PID/stat of a program with any name', () => {
    const rest = Array.from({ length: 49 }, (_, index) => `${index + 4}`).join(' ');
    expect(parseProcessStat(`7 (a) b (c) 1) S ${rest}`)).toEqual({ state: 'S', start: '22' });
    expect(parseProcessStat('7 (x) S 1')).toBeNull();
    expect(parseProcessStat('')).toBeNull();
  });

  it('this very process runs', async () => {
    expect(await isCertainlyGone(await procProbe.self(), procProbe)).toBe(false);
  });
});

describe('acquireLock', () => {
  it('tells the second who holds it, since when, and what to do', async () => {
    const now = new Date('2026-11-22T17:30:00Z');
    const lock = await acquireLock(backend, 'web1', 'backup', { now });
    const { host, pid } = lock.record;
    await expect(acquireLock(backend, 'web1', 'prune')).rejects.toMatchObject({
      code: 'LOCKED',
      message: `machine web1 is in use by backup (host ${host}, pid ${pid}, since 2026-11-22T17:30:00.000Z)`,
      hint: expect.stringContaining(`remove ${join(root, 'web1', 'lock.json')}`),
      retryable: true,
    });
    await lock.release();
    await lock.release();
    await expect(lock.checkStillHeld()).rejects.toMatchObject({ code: 'LOCK_LOST' });
    await (await acquireLock(backend, 'web1', 'prune')).release();
    expect(await readdir(join(root, 'web1'))).toEqual([]);
  });

  it('takes a stale lock over; its old holder finds out and cannot remove the new one', async () => {
    const old = await acquireLock(backend, 'web1', 'backup', { probe: probe({ pid: 100 }) });
    const taken = await acquireLock(backend, 'web1', 'prune', { probe: probe({}) });
    await expect(old.checkStillHeld()).rejects.toThrow(/taken over by prune \(host backup1, pid 200\)/);
    await old.release();
    await taken.checkStillHeld();
    await taken.release();
  });

  it('of many takers of one stale lock exactly one wins, every time', async () => {
    for (let round = 0; round < 20; round++) {
      await acquireLock(backend, 'web1', 'killed', { probe: probe({ pid: 100, processStart: '1' }) });
      // The killed one is gone, every taker runs.
      const takers = probe({});
      const judging: ProcessProbe = {
        ...takers,
        startOf: async pid => (pid === 100 ? { kind: 'gone' } : { kind: 'running', start: '5000' }),
      };
      const results = await Promise.allSettled(
        Array.from({ length: 8 }, () => acquireLock(backend, 'web1', 'taker', { probe: judging })),
      );
      const won = results.filter(result => result.status === 'fulfilled').map(result => result.value);
      expect(won).toHaveLength(1);
      await won[0]!.checkStillHeld();
      await won[0]!.release();
      expect(await readdir(join(root, 'web1'))).toEqual([]);
    }
  });

  it('a taker that was overtaken while it judged does not remove the lock of the faster one', async () => {
    await acquireLock(backend, 'web1', 'killed', { probe: probe({ pid: 100 }) });
    let faster: MachineLock | undefined;
    const slow: ProcessProbe = {
      ...probe({ pid: 300 }),
      startOf: async pid => {
        if (pid !== 100) return { kind: 'running', start: '5000' };
        faster ??= await acquireLock(backend, 'web1', 'faster', { probe: probe({}) });
        return { kind: 'gone' };
      },
    };
    await expect(acquireLock(backend, 'web1', 'slow', { probe: slow })).rejects.toThrow('in use by faster');
    await faster!.checkStillHeld();
  });

  it.each(['', '{', '{"format":"nbdelta-lock","version":2}', '"x"'])(
    'never removes a lock like %j',
    async text => {
      await writeFile(join(root, 'web1', 'lock.json'), text);
      await expect(acquireLock(backend, 'web1', 'backup')).rejects.toMatchObject({ code: 'LOCKED' });
      expect(await readFile(join(root, 'web1', 'lock.json'), 'utf8')).toBe(text);
    },
  );

  it('a lock removed by hand is lost', async () => {
    const lock: MachineLock = await acquireLock(backend, 'web1', 'backup');
    await rm(join(root, 'web1', 'lock.json'));
    await expect(lock.checkStillHeld()).rejects.toMatchObject({ code: 'LOCK_LOST' });
    await lock.release();
  });
});

describe('two processes', () => {
  async function startMachine(): Promise<string> {
    const location = join(root, 'repo');
    const machine = (await initRepository(location)).machine('web1');
    const lock = await machine.lock('backup', { create: true });
    await machine.identify(lock, { id: null, disks: [] });
    await lock.release();
    return location;
  }

  function race(location: string, rounds: number, mode: 'live' | 'die'): Promise<number | null> {
    const script = fileURLToPath(new URL('./lock-racer.mjs', import.meta.url));
    const args = [script, location, 'web1', String(rounds), mode];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'inherit'] });
    return new Promise(resolve => child.once('close', resolve));
  }

  /** Holders, in order; fails when one took the lock while another had it. */
  async function readHolders(): Promise<number> {
    const lines = (await readFile(join(root, 'journal'), 'utf8')).trim().split('\n');
    let holder: string | null = null;
    let count = 0;
    for (const line of lines) {
      const [what, pid] = line.split(' ');
      expect(holder).toBe(what === 'take' ? null : pid);
      holder = what === 'take' ? pid! : null;
      if (what === 'take') count++;
    }
    return count;
  }

  it('never hold the lock at the same time', async () => {
    const location = await startMachine();
    expect(await Promise.all([race(location, 15, 'live'), race(location, 15, 'live')])).toEqual([0, 0]);
    expect(await readHolders()).toBe(30);
  }, 30_000);

  it('take over from one that was killed, one at a time', async () => {
    const location = await startMachine();
    const racers = [race(location, 5, 'die'), race(location, 10, 'live'), race(location, 10, 'live')];
    expect(await Promise.all(racers)).toEqual([null, 0, 0]);
    expect(await readHolders()).toBe(25);
  }, 30_000);
});
