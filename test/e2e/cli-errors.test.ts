/** Bad input of every kind: one clear line, the documented exit code, never a stack trace. */
import { copyFile, mkdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeCertificates } from '../support/certificates.js';
import { startNbdkit } from '../support/nbdkit.js';
import { describeWith } from '../support/peers.js';
import { freePort } from '../support/processes.js';
import { type TempFolder, tempFolder } from '../support/temp-folder.js';
import { nbdelta, nbdeltaFails, nbdeltaOk } from './nbdelta-command.js';
import { copyRepository, makeSampleRepository, SampleGuest, type SampleRepository } from './sample-guest.js';

let folder: TempFolder;
let sample: SampleRepository;

beforeAll(async () => {
  folder = await tempFolder();
  sample = await makeSampleRepository(folder);
});

afterAll(() => folder[Symbol.asyncDispose]());

describe('wrong usage', () => {
  it.each([
    [['no-such-command']],
    [['info']],
    [['info', 'nbd://x', '--no-such-option']],
    [['backup', 'vda=nbd://x', '--repo', '/nonexistent']],
    [['backup', 'vda=nbd://x', '--repo', '/nonexistent', '--name', 'web1', '--level', 'most']],
    [['backup', 'vda=nbd://x', '--repo', '/nonexistent', '--name', 'web1', '--threads', 'many']],
    [['backup', 'vda=nbd://x', '--repo', '/nonexistent', '--name', 'web1', '--frame-size', '3000']],
    [['backup', 'vda=nbd://x', '--repo', '/nonexistent', '--name', 'web1', '--compression', 'rar']],
    [['backup', 'vda=nbd://x', '--repo', '/nonexistent', '--name', 'web1', '--rate', 'fast']],
    [['backup', 'vda=nbd://x', '--repo', '/nonexistent', '--name', 'web1', '--rate', '10']],
    [['backup', 'vda=nbd://x', 'vda=nbd://y', '--repo', '/nonexistent', '--name', 'web1']],
    [['list']],
    [['serve', 'web1', '--repo', '/nonexistent', '--listen', 'nowhere']],
    [['serve', 'web1', '--repo', '/nonexistent', '--listen', 'localhost:1', '--socket', '/x']],
    [['restore', 'web1', '--repo', '/nonexistent', '--to', '-', '--format', 'qcow2']],
  ])('%j', async args => {
    if (args.includes('-')) {
      // Standard output is the disk's: even a JSON error stays away from it.
      expect(await nbdelta(args)).toMatchObject({ code: 2, stdout: '' });
      return;
    }
    await nbdeltaFails(args, { exitCode: 2, code: 'USAGE' });
  });

  it('suggests what was meant', async () => {
    const error = await nbdeltaFails(['inof', 'nbd://x'], { exitCode: 2, code: 'USAGE' });
    expect(error.hint).toBe('did you mean info?');
  });

  it('reports an unknown option before one that is missing, and names the command for help', async () => {
    const usage = { exitCode: 2, code: 'USAGE' };
    const unknown = await nbdeltaFails(['restore', 'web1', '--rep', 'R'], usage);
    expect(unknown.message).toBe("unknown option '--rep'");
    expect(unknown.hint).toBe('did you mean --repo?');
    const far = await nbdeltaFails(['list', '--whatever'], usage);
    expect(far.message).toBe("unknown option '--whatever'");
    expect(far.hint).toBe('see: nbdelta list --help');
    const missing = await nbdeltaFails(['show', '--repo', 'R'], usage);
    expect(missing.message).toBe("missing required argument 'point'");
    expect(missing.hint).toBe('see: nbdelta show --help');
  });

  it('shows the help on stderr when there is no command', async () => {
    const result = await nbdelta([]);
    expect(result).toMatchObject({ code: 2, stdout: '' });
    expect(result.stderr).toContain('Exit codes');
  });
});

describe('an export that cannot be had', () => {
  it.each(['http://host/x', 'nbd:x', 'nbd://host:99999/', 'nbd+unix:///x', 'nbd://h/?no-such=1'])(
    'is no URI: %s',
    async uri => {
      await nbdeltaFails(['info', uri], { exitCode: 2, code: 'NBD_URI_INVALID' });
      await nbdeltaFails(['backup', `vda=${uri}`, '--repo', folder.file('never'), '--name', 'x'], {
        exitCode: 2,
        code: 'NBD_URI_INVALID',
      });
    },
  );

  it('has no server', async () => {
    const uri = `nbd://127.0.0.1:${await freePort()}/vda`;
    await nbdeltaFails(['info', uri], { exitCode: 3, code: 'NBD_CONNECT_FAILED' });
    await nbdeltaFails(['info', 'nbd+unix:///?socket=/nonexistent/s'], {
      exitCode: 3,
      code: 'NBD_CONNECT_FAILED',
    });
  });

  it('does not exist, or has no such bitmap', async () => {
    await using guest = new SampleGuest(folder);
    const uri = await guest.publish();
    const absent = uri.replace('/vda?', '/vdx?');
    await nbdeltaFails(['info', absent], { exitCode: 5, code: 'NBD_EXPORT_UNKNOWN' });
    await nbdeltaFails(['map', absent], { exitCode: 5, code: 'NBD_EXPORT_UNKNOWN' });
    await nbdeltaFails(['map', uri, '--bitmap', 'nope'], { exitCode: 6, code: 'NBD_CONTEXT_MISSING' });
    const backup = ['backup', uri, '--repo', sample.path, '--name', 'web1'];
    const args = [...backup, '--level', 'incremental', '--bitmap', 'nope', '--since', 'monday'];
    await nbdeltaFails(args, { exitCode: 6, code: 'NBD_CONTEXT_MISSING' });
  });
});

describeWith(['nbdkit', 'openssl'], 'TLS', () => {
  it('is demanded, or cannot be verified', async () => {
    const certificates = await makeCertificates(folder);
    const tls = { kind: 'x509', folder: certificates.server } as const;
    await using server = await startNbdkit({ plugin: ['memory', '1M'], transport: 'tcp', tls });
    const plain = server.uri.replace('nbds://', 'nbd://');
    await nbdeltaFails(['info', plain], { exitCode: 4, code: 'NBD_TLS_REQUIRED' });
    const distrusting = `${server.uri}?tls-certificates=${certificates.distrustfulClient}`;
    await nbdeltaFails(['info', distrusting], { exitCode: 4, code: 'NBD_TLS_FAILED' });
    const trusting = `${server.uri}?tls-certificates=${certificates.client}`;
    expect(await nbdeltaOk(['info', trusting])).toMatch(/TLS +yes, verified/);
  });
});

describe('a repository', () => {
  const list = (path: string) => ['list', '--repo', path];

  it('is not there, or something else is', async () => {
    await nbdeltaFails(list(folder.file('nothing')), { exitCode: 10, code: 'REPOSITORY_MISSING' });
    await mkdir(folder.file('strange'));
    await writeFile(folder.file('strange', 'holiday.jpg'), 'x');
    await nbdeltaFails(list(folder.file('strange')), { exitCode: 10, code: 'REPOSITORY_INVALID' });
    await nbdeltaFails(list(folder.file('strange', 'holiday.jpg')), {
      exitCode: 10,
      code: 'REPOSITORY_INVALID',
    });
  });

  it('is made only once, and only in a folder', async () => {
    const invalid = { exitCode: 10, code: 'REPOSITORY_INVALID' };
    const twice = await nbdeltaFails(['init', '--repo', sample.path], invalid);
    expect(twice.message).toBe(`${sample.path} is a repository already`);
    await writeFile(folder.file('somefile'), 'x');
    const file = await nbdeltaFails(['init', '--repo', folder.file('somefile')], invalid);
    expect(file.message).toMatch(/is a file, not a folder$/);
    const taken = folder.file('taken');
    await mkdir(taken);
    await writeFile(join(taken, 'holiday.jpg'), 'x');
    const strange = await nbdeltaFails(['init', '--repo', taken], invalid);
    expect(strange.message).toContain('not a repository');
  });

  it('is of a newer version, or damaged', async () => {
    const description = (text: string) => writeFile(folder.file('new', 'nbdelta-repository.json'), text);
    await mkdir(folder.file('new'));
    await description('{"format":"nbdelta-repository","version":9}');
    await nbdeltaFails(list(folder.file('new')), { exitCode: 11, code: 'FORMAT_UNSUPPORTED' });
    await description('{"format":');
    await nbdeltaFails(list(folder.file('new')), { exitCode: 10, code: 'REPOSITORY_INVALID' });
  });

  it('has no such machine, point or disk', async () => {
    const repo = ['--repo', sample.path];
    await nbdeltaFails(['show', 'web2', ...repo], { exitCode: 12, code: 'MACHINE_UNKNOWN' });
    await nbdeltaFails(['show', 'web1@1999', ...repo], { exitCode: 13, code: 'POINT_UNKNOWN' });
    await nbdeltaFails(['show', 'web1@20', ...repo], { exitCode: 13, code: 'POINT_AMBIGUOUS' });
    const to = ['--to', folder.file('no.raw')];
    await nbdeltaFails(['restore', 'web1', '--disk', 'vdx', ...to, ...repo], {
      exitCode: 13,
      code: 'DISK_UNKNOWN',
    });
    await nbdeltaFails(['serve', 'web1', '--disk', 'vdx', ...repo], { exitCode: 13, code: 'DISK_UNKNOWN' });
  });

  it('has another guest of that name', async () => {
    await using guest = new SampleGuest(folder);
    const path = folder.file('two-guests');
    const backup = (id: string) => ['--repo', path, '--name', 'web1', '--level', 'full', '--machine-id', id];
    const uri = await guest.publish();
    await nbdeltaOk(['backup', uri, ...backup('a')]);
    await nbdeltaFails(['backup', uri, ...backup('b')], { exitCode: 14, code: 'MACHINE_MISMATCH' });
  });
});

describe('serve', () => {
  const serve = (...args: readonly string[]) => ['serve', 'web1', '--repo', sample.path, ...args];
  const failed = { exitCode: 3, code: 'NBD_LISTEN_FAILED' };

  it('tells a missing folder from a missing permission', async () => {
    const error = await nbdeltaFails(serve('--socket', folder.file('none', 's')), failed);
    expect(error.message).toBe(`cannot listen: there is no folder ${folder.file('none')}`);
  });

  it('speaks of no folder where an address is meant', async () => {
    const error = await nbdeltaFails(serve('--listen', '192.0.2.1:10809'), failed);
    expect(error.hint).toBe('check that the address is one of this host, and that its port is free');
  });
});

describe('a backup that was asked for a bitmap', () => {
  it('says so when the bitmap is missing and everything is compared instead', async () => {
    await using guest = new SampleGuest(folder);
    const repo = ['--repo', folder.file('bitmaps'), '--name', 'web1'];
    await nbdeltaOk(['backup', await guest.publish(), ...repo, '--checkpoint', 'monday']);
    const args = ['backup', await guest.publish(), ...repo, '--bitmap', 'nope', '--since', 'monday'];
    const { code, stdout, stderr } = await nbdelta(args);
    expect({ code, stdout }).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^web1@\S+ +incremental\n/),
    });
    expect(stderr).toMatch(/^warning: .*"nope".*: everything was read and compared$/m);
    const given = await nbdelta(['backup', await guest.publish(), ...repo]);
    expect(given.stderr).not.toContain('warning');
  });

  it('is told that a rescan takes none', async () => {
    await using guest = new SampleGuest(folder);
    const backup = [
      'backup',
      await guest.publish(),
      '--repo',
      folder.file('none'),
      '--name',
      'web1',
      '--rescan',
    ];
    const error = await nbdeltaFails([...backup, '--bitmap', 'b'], { exitCode: 2, code: 'USAGE' });
    expect(error.hint).toBe('leave --bitmap out');
    const first = [...backup, '--level', 'incremental'];
    await nbdeltaFails(first, { exitCode: 20, code: 'CHAIN_MISSING' });
  });
});

describe('a restore target', () => {
  it('exists already', async () => {
    const to = folder.file('precious');
    await writeFile(to, 'do not lose me');
    const args = ['restore', 'web1', '--disk', 'vda', '--to', to, '--repo', sample.path];
    await nbdeltaFails(args, { exitCode: 30, code: 'TARGET_EXISTS' });
    expect(await readFile(to, 'utf8')).toBe('do not lose me');
    await nbdeltaOk([...args, '--force']);
    expect((await readFile(to)).equals(sample.after)).toBe(true);
  });

  it('cannot be written', async () => {
    const to = folder.file('no', 'such', 'folder', 'vda.raw');
    const args = ['restore', 'web1', '--disk', 'vda', '--to', to, '--repo', sample.path];
    await nbdeltaFails(args, { exitCode: 31, code: 'TARGET_INVALID' });
  });
});

describe('a chain', () => {
  /** Damages a copy; restoring the newest point must fail, and `verify` must say so. */
  async function expectBroken(
    expected: { readonly exitCode: number; readonly code: string },
    damage: (copy: SampleRepository, volume: (point: string) => string) => Promise<void>,
  ): Promise<void> {
    await using scratch = await tempFolder();
    const copy = await copyRepository(sample, scratch);
    await damage(copy, point => join(copy.path, 'web1', point, 'vda.0001.tar'));
    const repo = ['--repo', copy.path];
    const to = scratch.file('out.raw');
    await nbdeltaFails(['restore', 'web1', '--disk', 'vda', '--to', to, ...repo], expected);
    await expect(readFile(to), 'nothing that looks like a disk').rejects.toThrow('ENOENT');
    const verified = await nbdelta(['verify', '--json', ...repo]);
    expect(verified.code).toBe(24);
    const { ok, problems } = JSON.parse(verified.stdout) as {
      readonly ok: boolean;
      readonly problems: readonly { readonly code: string }[];
    };
    expect(ok).toBe(false);
    expect(problems.map(problem => problem.code)).toContain(expected.code);
    const text = await nbdelta(['verify', ...repo]);
    expect(text).toMatchObject({ code: 24, stderr: '' });
    expect(text.stdout).toMatch(/^[A-Z_]+ {2}web1@\S+.*: .+\n/);
    expect(text.stdout).toMatch(/\d+ problems? found\n$/);
  }

  it('has a damaged byte', async () => {
    await expectBroken({ exitCode: 24, code: 'DATA_DAMAGED' }, async (_, volume) => {
      const file = volume(sample.full);
      const bytes = await readFile(file);
      bytes[300_000]! ^= 1;
      await writeFile(file, bytes);
    });
  });

  it('has lost a volume', async () => {
    await expectBroken({ exitCode: 21, code: 'CHAIN_TORN' }, (_, volume) => rm(volume(sample.full)));
  });

  it('has a volume that is too short', async () => {
    await expectBroken({ exitCode: 21, code: 'CHAIN_TORN' }, async (_, volume) => {
      await truncate(volume(sample.full), 100_000);
    });
  });

  it('has lost a parent', async () => {
    await expectBroken({ exitCode: 20, code: 'CHAIN_MISSING' }, copy =>
      rm(join(copy.path, 'web1', sample.full), { recursive: true }),
    );
  });

  it("has another archive's volume in it", async () => {
    await using elsewhere = await tempFolder();
    const other = await makeSampleRepository(elsewhere);
    await expectBroken({ exitCode: 22, code: 'CHAIN_FOREIGN' }, async (_, volume) => {
      await copyFile(join(other.path, 'web1', other.full, 'vda.0001.tar'), volume(sample.full));
    });
  });

  it('has a damaged manifest', async () => {
    await using scratch = await tempFolder();
    const copy = await copyRepository(sample, scratch);
    const manifest = join(copy.path, 'web1', sample.incremental, 'manifest.json');
    await writeFile(manifest, (await readFile(manifest, 'utf8')).replace('"incremental"', '"incremental" '));
    const repo = ['--repo', copy.path];
    const damaged = `web1@${sample.incremental}`;
    await nbdeltaFails(['show', damaged, ...repo], { exitCode: 24, code: 'DATA_DAMAGED' });
    expect(await nbdeltaOk(['list', ...repo])).toMatch(
      new RegExp(`! ${sample.incremental} {2}cannot be read: `),
    );
  });

  it('refuses "latest" when the newest point has a damaged manifest, also within one second', async () => {
    await using scratch = await tempFolder();
    const copy = await copyRepository(sample, scratch);
    const manifest = join(copy.path, 'web1', sample.incremental, 'manifest.json');
    await writeFile(manifest, 'torn');
    const fails = { exitCode: 24, code: 'DATA_DAMAGED' };
    await nbdeltaFails(['show', 'web1', '--repo', copy.path], fails);
    await nbdeltaFails(['show', 'web1@2099-01-01', '--repo', copy.path], fails);
    expect(await nbdeltaOk(['show', `web1@${sample.full}`, '--repo', copy.path])).toContain(sample.full);
  });
});

describe('a backup of two disks of which one cannot be read', () => {
  it('is no point, or, when that is allowed, a partial one', async () => {
    await using good = new SampleGuest(folder);
    await using scratch = await tempFolder();
    await using bad = new SampleGuest(scratch);
    const readInto = async () => {
      throw new Error('bad sector');
    };
    const broken = await bad.publish(({ size, contexts, status }) => ({
      ...{ size, contexts, readInto },
      status: status.bind(bad.disk),
    }));
    const path = folder.file('partial');
    const args = ['backup', `vda=${await good.publish()}`, `vdb=${broken}`, '--repo', path, '--name', 'web1'];
    const error = await nbdeltaFails(args, { exitCode: 7, code: 'NBD_COMMAND_FAILED' });
    expect(error.message).toContain('vdb');
    expect(await nbdeltaOk(['list', '--repo', path])).not.toMatch(/2\d{7}T/);
    const partial = await nbdelta([...args, '--allow-partial']);
    expect(partial).toMatchObject({ code: 40 });
    expect(partial.stdout).toMatch(/^vdb .*failed: /m);
    expect(partial.stdout).toMatch(/^warning: disk vdb: /m);
    expect(await nbdeltaOk(['list', '--repo', path])).toContain('partial: vdb failed');
  });
});
