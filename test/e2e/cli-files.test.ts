/** `files` as a command: what it says when libguestfs is missing, does not start, or finds nothing that fits. */
import { mkdir } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type TempFolder, tempFolder } from '../support/temp-folder.js';
import { type Answers, complain, fakeGuestfish } from './fake-guestfish.js';
import { nbdelta } from './nbdelta-command.js';
import { makeSampleRepository, type SampleRepository } from './sample-guest.js';

describe('nbdelta files', () => {
  let shared: TempFolder;
  let sample: SampleRepository;

  beforeAll(async () => {
    shared = await tempFolder();
    sample = await makeSampleRepository(shared);
  });
  afterAll(() => shared[Symbol.asyncDispose]());

  async function files(answers: Answers | undefined, ...args: readonly string[]) {
    await using folder = await tempFolder();
    const path = answers ? await fakeGuestfish(folder, answers) : folder.path;
    const env = { PATH: path, LIBGUESTFS_BACKEND_SETTINGS: '', SUPERMIN_KERNEL: '/nowhere' };
    return await nbdelta(['files', 'web1', ...args, '--quiet', '--repo', sample.path], { env });
  }

  const NO_SYSTEM = { 'inspect-os': ':' };

  it('says that guestfish is not installed', async () => {
    const { code, stderr, stdout } = await files(undefined, 'ls');
    expect({ code, stdout }).toEqual({ code: 32, stdout: '' });
    expect(stderr).toMatch(
      /^nbdelta: guestfish is needed[^\n]*not installed\n {2}hint: install libguestfs-tools[^\n]*\n$/,
    );
  });

  it('says why the appliance does not start', async () => {
    const run = complain('/usr/bin/supermin exited with error status 1.');
    const { code, stderr } = await files({ run: `${run}; echo 'run again with debugging' >&2` }, 'ls');
    expect(code).toBe(32);
    expect(stderr).toMatch(
      /^nbdelta: libguestfs cannot start its appliance: [^\n]*status 1\.\n {2}hint: [^\n]*\n$/,
    );
  });

  it('tries without KVM when QEMU dies', async () => {
    const died = complain('/usr/bin/qemu-system-x86_64 killed by signal 6 (Aborted).');
    const answers = {
      run: `[ "$LIBGUESTFS_BACKEND_SETTINGS" = force_tcg ] || ${died}`,
      'list-filesystems': 'echo "/dev/sda1: ext4" >&3',
      'vfs-label': 'echo data >&3',
      'blockdev-getsize64': 'echo 1048576 >&3',
    };
    const { code, stdout, stderr } = await files(answers, 'ls');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/\/dev\/sda1 +vda +ext4 +data +1\.00 MiB +-/);
  });

  it('survives a guestfish that ends in the middle', async () => {
    const { code, stderr } = await files({ 'inspect-os': 'exit 1' }, 'cat', '/x');
    expect(code).toBe(32);
    expect(stderr).toMatch(/^nbdelta: guestfish failed: it ended without a word\n/);
  });

  it.each([
    [
      'none',
      '/dev/sda1: swap',
      /no file system that can be read; found \/dev\/sda1: swap\n {2}hint: .*encrypted/,
    ],
    [
      'two',
      '/dev/sda1: ext4\n/dev/sda2: xfs',
      /more than one file system\n.*--device: \/dev\/sda1, \/dev\/sda2\n/,
    ],
  ])('names the file systems there are: %s', async (_, found, said) => {
    const answers = {
      ...NO_SYSTEM,
      'list-filesystems': `printf '%b' '${found.replace('\n', '\\n')}\\n' >&3`,
    };
    const { code, stderr } = await files(answers, 'ls', '/');
    expect(stderr).toMatch(said);
    expect(code).toBe(13);
  });

  it('mounts what the operating system does, the root first, and goes on without what is missing', async () => {
    const answers = {
      'inspect-os': 'echo /dev/sda2 >&3',
      'inspect-get-mountpoints': 'printf "/boot: /dev/sda1\\n/: /dev/sda2\\n/mnt/gone: /dev/sdx\\n" >&3',
      'mount-ro': `case $line in *sdx*) ${complain('mount-ro: no such device')};; *) mounted="$mounted$line";; esac`,
      download: `case $mounted in *sda2*sda1*) echo in order >&3;; *) ${complain('not mounted')};; esac`,
    };
    expect(await files(answers, 'cat', '/x')).toEqual({ code: 0, stdout: 'in order\n', stderr: '' });
  });

  it('says what is wrong before anything is started', async () => {
    for (const [args, said] of [
      [['cat'], /cat needs the path/],
      [['cp', '/etc'], /cp needs a place/],
      [['ls', '/etc', '/tmp'], /takes one path/],
      [['rm', '/etc'], /Allowed choices are ls, cat, cp/],
    ] as const) {
      const { code, stderr } = await files({ run: 'exit 1' }, ...args);
      expect(code).toBe(2);
      expect(stderr).toMatch(said);
    }
  });

  it('takes no path that is not one of the guest', async () => {
    const { code, stderr } = await files({}, 'cat', 'C:\\x');
    expect(code).toBe(2);
    expect(stderr).toMatch(/begins with "\/"/);
  });

  it('replaces nothing', async () => {
    const status =
      'printf "st_dev: 1\\nst_ino: 2\\nst_mode: 33188\\nst_size: 2\\nst_uid: 0\\nst_gid: 0\\nst_mtime_sec: 0\\n" >&3';
    const answers = { ...NO_SYSTEM, 'list-filesystems': 'echo "/dev/sda: ext4" >&3', statns: status };
    await mkdir(shared.file('to', 'x'), { recursive: true });
    const { code, stderr } = await files(answers, 'cp', '/x', shared.file('to'));
    expect(code).toBe(30);
    expect(stderr).toMatch(/\/to\/x exists already/);
  });

  it('has an error as JSON like every command', async () => {
    const { code, stdout, stderr } = await files(undefined, 'ls', '--json');
    expect({ code, stderr }).toEqual({ code: 32, stderr: '' });
    expect(JSON.parse(stdout)).toMatchObject({
      error: { code: 'TOOL_MISSING', fields: { tool: 'guestfish' } },
    });
  });
});
