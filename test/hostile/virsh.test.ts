import { chmod, readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { LibvirtFrontEnd } from '#nbdelta/hypervisor/libvirt/libvirt-front-end.js';
import { Virsh } from '#nbdelta/hypervisor/libvirt/virsh.js';
import { parseSource } from '#nbdelta/hypervisor/source.js';
import { makeFakeVirsh, type VirshAnswer } from '../support/fake-virsh.js';
import { type TempFolder, tempFolder } from '../support/temp-folder.js';

const VERSION = 'Running hypervisor: QEMU 7.2.22\nRunning against daemon: 9.0.0\n';
const HEALTHY = { uri: { output: 'qemu:///system\n' }, version: { output: VERSION } };

afterEach(() => vi.unstubAllEnvs());

async function inspect(answers: Readonly<Record<string, VirshAnswer>>) {
  await using folder = await tempFolder();
  vi.stubEnv('PATH', await makeFakeVirsh(folder, answers));
  await using frontEnd = new LibvirtFrontEnd([{ disk: undefined, source: parseSource('libvirt:web1') }], {});
  return await frontEnd.inspect({});
}

/** A virsh that is a shell script. */
async function scriptedVirsh(folder: TempFolder, script: string): Promise<void> {
  await writeFile(folder.file('virsh'), `#!/bin/sh\n${script}\n`);
  await chmod(folder.file('virsh'), 0o755);
  vi.stubEnv('PATH', `${folder.path}:${process.env['PATH']}`);
}

describe('a virsh that', () => {
  it('is not installed', async () => {
    await using folder = await tempFolder();
    vi.stubEnv('PATH', folder.path);
    await expect(new Virsh(undefined).run('uri')).rejects.toMatchObject({
      code: 'TOOL_MISSING',
      message: 'virsh is needed: it is not installed',
    });
  });

  it('talks to a libvirt that is too old', async () => {
    const old = VERSION.replace('9.0.0', '6.10.0');
    await expect(inspect({ ...HEALTHY, version: { output: old } })).rejects.toMatchObject({
      code: 'HYPERVISOR_TOO_OLD',
      message: 'libvirt 6.10.0 is too old: 7.0.0 or newer is needed',
    });
  });

  it('may not talk to libvirt', async () => {
    const error =
      "error: failed to connect to the hypervisor\nerror: Failed to connect socket to '/run/libvirt/libvirt-sock': Permission denied\n";
    await expect(inspect({ uri: { error } })).rejects.toMatchObject({
      code: 'HYPERVISOR_DENIED',
      message: expect.not.stringMatching(/\n/),
      hint: expect.stringContaining('root'),
    });
  });

  it('describes no domain', async () => {
    for (const output of ['', 'Segmentation fault', '<domain><name>web1</name>', '<domain/>']) {
      await expect(inspect({ ...HEALTHY, dumpxml: { output } })).rejects.toMatchObject({
        code: 'HYPERVISOR_FAILED',
        message: expect.stringContaining("the domain's description"),
      });
    }
  });

  it('names another version than a number', async () => {
    await expect(inspect({ ...HEALTHY, version: { output: 'v9\n' } })).rejects.toMatchObject({
      code: 'HYPERVISOR_FAILED',
      message: 'virsh version printed something unknown: "v9"',
    });
  });

  it('hangs is ended', async () => {
    await using folder = await tempFolder();
    await scriptedVirsh(folder, 'exec sleep 600');
    await expect(new Virsh(undefined).run('domfsfreeze', { timeoutMs: 200 })).rejects.toMatchObject({
      code: 'HYPERVISOR_UNREACHABLE',
      message: 'virsh did not end within 0.2 s',
    });
  });
});

describe('what virsh is given', () => {
  it('are values that are never options, and never read by a shell', async () => {
    await using folder = await tempFolder();
    await scriptedVirsh(folder, `printf '%s\\n' "$@"`);
    const name = '--config $(touch /tmp/x); "a b"';
    const words = await new Virsh('qemu:///system').domain(name, 'dumpxml', {
      options: { inactive: true, quiet: undefined, no: false, mountpoint: ['/a b', '-c'] },
    });
    expect(words.split('\n')).toEqual([
      ...['--quiet', '--connect=qemu:///system', 'dumpxml', `--domain=${name}`, '--inactive'],
      ...['--mountpoint=/a b', '--mountpoint=-c', ''],
    ]);
  });

  it('are documents in private files, which go whatever happens', async () => {
    await using folder = await tempFolder();
    const own = async () => (await readdir(tmpdir())).filter(name => name.startsWith('nbdelta-xml-'));
    const before = await own();
    const seen = folder.file('seen');
    const look = `for word; do case "$word" in --xmlfile=*) file=\${word#*=};; esac; done
      stat -c %a "$file" "\${file%/*}" > ${seen}; cat "$file" >> ${seen}; exit 1`;
    await scriptedVirsh(folder, look);
    const call = new Virsh(undefined).run('checkpoint-create', { documents: { xmlfile: '<secret/>' } });
    await expect(call).rejects.toThrow('exit code 1');
    expect(await readFile(seen, 'utf8')).toBe('600\n700\n<secret/>');
    expect(await own()).toEqual(before);
  });
});
