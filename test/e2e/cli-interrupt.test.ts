/** Ctrl-C, closed pipes and full disks: the repository stays as it was, and the exit code says what happened. */
import { mkdir, readdir } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { BlockSource } from '#nbdelta/nbd/server/block-source.js';
import { outputMatches, run } from '../support/processes.js';
import { type TempFolder, tempFolder } from '../support/temp-folder.js';
import { BIN, nbdelta, nbdeltaOk, startNbdelta } from './nbdelta-command.js';
import {
  copyRepository,
  MIB,
  makeSampleRepository,
  SampleGuest,
  type SampleRepository,
} from './sample-guest.js';

let folder: TempFolder;
let sample: SampleRepository;

beforeAll(async () => {
  folder = await tempFolder();
  sample = await makeSampleRepository(folder);
});

afterAll(() => folder[Symbol.asyncDispose]());

async function allFiles(path: string): Promise<readonly string[]> {
  return (await readdir(path, { recursive: true })).sort();
}

/** A guest whose every read takes its time. */
async function slowUri(guest: SampleGuest, onRead: () => void): Promise<string> {
  return guest.publish(source => ({
    size: source.size,
    contexts: source.contexts,
    status: source.status.bind(source),
    readInto: async (offset, target) => {
      onRead();
      await sleep(400);
      return source.readInto(offset, target);
    },
  }));
}

describe('an interrupted backup', () => {
  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('by %s leaves the repository as it was and ends with %i', async (signal, exitCode) => {
    await using scratch = await tempFolder();
    const { path } = await copyRepository(sample, scratch);
    await using guest = new SampleGuest(scratch);
    let reads = 0;
    const uri = await slowUri(guest, () => reads++);
    const before = { files: await allFiles(path), list: await nbdeltaOk(['list', '--json', '--repo', path]) };
    const args = ['backup', uri, '--repo', path, '--name', 'web1', '--level', 'full', '--connections', '1'];
    await using backup = await startNbdelta(args, () => reads > 0);
    process.kill(backup.pid, signal);
    expect(await backup.ended).toBe(exitCode);
    expect(backup.stdout).toBe('');
    expect(backup.stderr).toBe('nbdelta: stopped on request; nothing was stored\n');
    expect(await allFiles(path)).toEqual(before.files);
    expect(await nbdeltaOk(['list', '--json', '--repo', path])).toBe(before.list);
  });

  it('does not wait for the --rate to let it read on', async () => {
    await using scratch = await tempFolder();
    await using guest = new SampleGuest(scratch);
    let read = 0;
    const uri = await guest.publish(source => ({
      size: source.size,
      contexts: source.contexts,
      status: source.status.bind(source),
      readInto: async (offset, target) => {
        read += target.length;
        return source.readInto(offset, target);
      },
    }));
    const args = ['backup', uri, '--repo', scratch.file('new'), '--name', 'web1', '--frame-size', '64k'];
    // A frame a second: without the rate all of them would be read at once.
    await using backup = await startNbdelta([...args, '--rate', '64k'], () => read > 0);
    process.kill(backup.pid, 'SIGINT');
    expect(await backup.ended).toBe(130);
    expect(read).toBeLessThan(4 * 65_536);
  });

  it('says so as JSON too', async () => {
    await using scratch = await tempFolder();
    await using guest = new SampleGuest(scratch);
    let reads = 0;
    const uri = await slowUri(guest, () => reads++);
    const args = ['backup', uri, '--repo', scratch.file('new'), '--name', 'web1', '--json'];
    await using backup = await startNbdelta(args, () => reads > 0);
    process.kill(backup.pid, 'SIGINT');
    expect(await backup.ended).toBe(130);
    expect(JSON.parse(backup.stdout)).toMatchObject({ error: { code: 'ABORTED', exitCode: 130 } });
  });

  it('ends at once at the second signal', async () => {
    await using scratch = await tempFolder();
    await using guest = new SampleGuest(scratch);
    let reads = 0;
    const uri = await slowUri(guest, () => reads++);
    const args = ['backup', uri, '--repo', scratch.file('new'), '--name', 'web1'];
    await using backup = await startNbdelta(args, () => reads > 0);
    process.kill(backup.pid, 'SIGINT');
    process.kill(backup.pid, 'SIGTERM');
    expect([130, 143]).toContain(await backup.ended);
    await guest.publish();
    expect(
      await nbdeltaOk(['backup', await guest.publish(), '--repo', scratch.file('new'), '--name', 'web1']),
    ).toMatch(/^web1@/);
  });
});

/** So much data that a restore takes a while, and so regular that its archive is small. */
const LARGE: BlockSource = {
  size: 768 * MIB,
  contexts: ['base:allocation'],
  readInto: async (_, target) => {
    Buffer.from(target.buffer, target.byteOffset, target.byteLength).fill('regular ');
  },
  status: (_context, _offset, length) => [{ length, status: 0 }],
};

describe('an interrupted restore', () => {
  it('leaves no file that looks like a disk', async () => {
    await using scratch = await tempFolder();
    await using guest = new SampleGuest(scratch);
    const repo = ['--repo', scratch.file('repository')];
    await nbdeltaOk(['backup', await guest.publish(() => LARGE), ...repo, '--name', 'web1']);
    const target = scratch.file('out');
    await mkdir(target);
    const started = async () => (await readdir(target)).length > 0;
    const args = ['restore', 'web1', '--disk', 'vda', '--to', `${target}/vda.raw`, ...repo];
    await using restore = await startNbdelta(args, started);
    process.kill(restore.pid, 'SIGINT');
    expect(await restore.ended).toBe(130);
    expect(restore.stderr).toBe(`nbdelta: stopped on request; nothing was left at ${target}/vda.raw\n`);
    expect(await readdir(target)).toEqual([]);
  });

  it('ends also while the reader of its output stands still', async () => {
    const script = `
      mkfifo "$3"
      "$0" "$1" restore web1 --repo "$2" --to - > "$3" & pid=$!
      exec 5< "$3"
      head -c 1 <&5 > /dev/null
      kill -TERM $pid
      wait $pid`;
    const fifo = folder.file('fifo');
    const result = await run('sh', ['-c', script, process.execPath, BIN, sample.path, fifo]);
    const stderr = 'nbdelta: stopped on request; what was written to stdout is not complete\n';
    expect(result).toEqual({ code: 143, stdout: '', stderr });
  });
});

describe('a reader that goes away', () => {
  const shell = (command: string) =>
    run('bash', ['-c', `set -o pipefail; ${command}`, process.execPath, BIN, sample.path]);

  it('is no error for a listing', async () => {
    expect(await shell('"$0" "$1" list --repo "$2" | head -n 1')).toEqual({
      code: 0,
      stdout: expect.stringContaining('web1'),
      stderr: '',
    });
    expect(await shell('"$0" "$1" list --repo "$2" --json | true')).toMatchObject({ code: 0, stderr: '' });
  });

  it('is no error for help', async () => {
    expect(await shell('"$0" "$1" --help | true')).toMatchObject({ code: 0, stderr: '' });
    expect(await shell('"$0" "$1" backup --help | head -n 1')).toMatchObject({ code: 0, stderr: '' });
    const full = await shell('"$0" "$1" --help > /dev/full');
    expect(full).toMatchObject({ code: 16, stderr: expect.stringMatching(/^nbdelta: the output cannot/) });
  });

  it('is one for a disk: what it got is not all of it', async () => {
    const { code, stderr } = await shell(
      '"$0" "$1" restore web1 --to - --repo "$2" | head -c 1000 > /dev/null',
    );
    expect(code).toBe(31);
    expect(stderr).toMatch(/^nbdelta: the output was closed before the end: .*\n {2}hint: .*\n$/);
  });

  it('does not hide a disk that is full', async () => {
    const { code, stderr } = await shell('"$0" "$1" list --repo "$2" > /dev/full');
    expect(code).toBe(16);
    expect(stderr).toMatch(/^nbdelta: the output cannot be written: ENOSPC/);
  });

  it.each([
    ['list --repo "$2" --json', 16, /^nbdelta: the output cannot be written: [^\n]+\n {2}hint: [^\n]+\n$/],
    ['show nobody --repo "$2" --json', 12, /^nbdelta: .*nobody(.*\n)+nbdelta: the output cannot be written/],
    ['list --json', 2, /^nbdelta: required option(.*\n)+nbdelta: the output cannot be written/],
  ])('does not end silently when the document of %s cannot be written', async (command, exitCode, said) => {
    const { code, stderr } = await shell(`"$0" "$1" ${command} > /dev/full`);
    expect(code).toBe(exitCode);
    expect(stderr).toMatch(said);
  });
});

describe('serve', () => {
  it('leaves no socket behind', async () => {
    const socket = folder.file('serve.sock');
    const args = ['serve', 'web1', '--socket', socket, '--repo', sample.path];
    await using server = await startNbdelta(args, outputMatches(/serving until/));
    expect((await nbdelta(['info', `nbd+unix:///vda?socket=${socket}`])).code).toBe(0);
    process.kill(server.pid, 'SIGINT');
    expect(await server.ended).toBe(0);
    expect(await readdir(folder.path)).not.toContain('serve.sock');
  });
});
