/** `nbdelta doctor`: the report, the verdict as exit code, and what keeps it from looking. */
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Diagnosis } from '#nbdelta/index.js';
import { startQmpGuest } from '../conformance/qmp-harness.js';
import { makeFakeVirsh, type VirshAnswer } from '../support/fake-virsh.js';
import { describeWith } from '../support/peers.js';
import { addBitmap, createQcow2 } from '../support/qcow2-image.js';
import { startQemuNbd } from '../support/qemu-nbd.js';
import { type TempFolder, tempFolder } from '../support/temp-folder.js';
import { type ErrorJson, nbdelta, nbdeltaFails, nbdeltaJson } from './nbdelta-command.js';

let folder: TempFolder;
beforeAll(async () => {
  folder = await tempFolder();
});
afterAll(() => folder[Symbol.asyncDispose]());

const byId = ({ findings }: Diagnosis) => Object.fromEntries(findings.map(({ id, status }) => [id, status]));

describeWith(['qemu-nbd', 'qemu-img'], 'doctor of an NBD export', () => {
  const image = () => folder.file('disk.qcow2');
  beforeAll(async () => {
    await createQcow2(image(), 1 << 20);
    await addBitmap(image(), 'b0');
  });

  it('says what was negotiated, and that incrementals work', async () => {
    await using server = await startQemuNbd({
      image: image(),
      format: 'qcow2',
      bitmaps: ['b0'],
      exportName: 'vda',
    });
    const diagnosis = await nbdeltaJson<Diagnosis>(['doctor', server.uri]);
    expect(diagnosis).toMatchObject({
      guest: null,
      verdict: { full: true, incremental: true, quiesce: null },
    });
    expect(byId(diagnosis)).toMatchObject({ 'nbd-replies': 'ok', disk: 'ok', allocation: 'ok', tls: 'ok' });
    expect(diagnosis.findings.find(({ id }) => id === 'disk')?.text).toContain('b0');
    const { stdout, code } = await nbdelta(['doctor', server.uri]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/\ncan be backed up, incrementally as well\n$/);
  });

  it('says what to do where there is no bitmap', async () => {
    await using server = await startQemuNbd({ image: image(), format: 'qcow2' });
    const { stdout, code } = await nbdelta(['doctor', server.uri]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^warning {2}no dirty bitmap.*\n {9}fix: .*qemu-nbd -B/m);
    expect(stdout).toMatch(/but everything is read each time\n$/);
  });

  it('fails as every command does when nobody is there', async () => {
    const uri = `nbd+unix:///vda?socket=${folder.file('none')}`;
    await nbdeltaFails(['doctor', uri], { exitCode: 3, code: 'NBD_CONNECT_FAILED' });
  });
});

describeWith(['qemu-system-x86_64', 'qemu-img'], 'doctor of a plain QEMU', () => {
  it('looks, and changes nothing', async () => {
    await using guest = await startQmpGuest();
    const before = await guest.leftovers();
    const state = folder.file('never-made');
    const args = [
      'doctor',
      String(guest.source),
      '--state-dir',
      state,
      '--scratch',
      String(guest.options.scratch),
    ];
    const result = await nbdelta([...args, '--scratch-reserve', '1M', '--json']);
    expect(result, result.stdout).toMatchObject({ code: 0 });
    const diagnosis = JSON.parse(result.stdout) as Diagnosis;
    expect(diagnosis).toMatchObject({
      guest: { state: 'paused' },
      verdict: { full: true, incremental: true },
    });
    expect(await guest.leftovers()).toEqual(before);
    await expect(stat(state)).rejects.toThrow('ENOENT');
  });
});

const DOMAIN = `<domain type='kvm' id='1'><name>web1</name><uuid>f2480aed-d07b-40ca-8829-ba2e4e91bb50</uuid><devices>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/images/a.qcow2'/><target dev='vda'/></disk>
<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/images/b.raw'/><target dev='vdb'/></disk>
</devices><seclabel type='dynamic' model='dac'><label>+0:+0</label></seclabel></domain>`;

const HEALTHY: Readonly<Record<string, VirshAnswer>> = {
  uri: { output: 'qemu:///system\n' },
  version: { output: 'Running hypervisor: QEMU 7.2.22\nRunning against daemon: 9.0.0\n' },
  dumpxml: { output: DOMAIN },
  domstate: { output: 'running (booted)\n' },
  domblkinfo: { output: 'Capacity:       1048576\nAllocation: 0\nPhysical: 0\n' },
  'backup-dumpxml': { error: 'error: Domain backup job id not found: no domain backup job present\n' },
  domjobinfo: { output: 'Job type: 0\n\n' },
  blockjob: { output: '\n' },
  'checkpoint-list': { output: '' },
};

describe('doctor of a libvirt domain', () => {
  const doctor = async (answers: Readonly<Record<string, VirshAnswer>>, args: readonly string[] = []) => {
    const PATH = await makeFakeVirsh(folder, { ...HEALTHY, ...answers });
    const places = ['--scratch', folder.path, '--scratch-reserve', '1M', '--state-dir', folder.file('state')];
    return await nbdelta(['doctor', 'libvirt:web1', ...places, ...args, '--json'], { env: { PATH } });
  };
  const diagnose = async (answers: Readonly<Record<string, VirshAnswer>>, args?: readonly string[]) => {
    const { code, stdout, stderr } = await doctor(answers, args);
    expect(stderr).toBe('');
    return { code, ...(JSON.parse(stdout) as Diagnosis) };
  };

  it('that is healthy', async () => {
    const { code, verdict, guest, findings } = await diagnose({});
    expect(findings.filter(({ status }) => status === 'problem')).toEqual([]);
    expect(code).toBe(0);
    expect(verdict).toEqual({
      ...{ full: true, incremental: true, quiesce: false },
      text: 'can be backed up, incrementally as well, except for vdb; without --quiesce',
    });
    expect(guest).toMatchObject({ name: 'web1', state: 'running', versions: { libvirt: '9.0.0' } });
  });

  it.each([
    ['somebody else has a job running', { domjobinfo: { output: 'Job type: 2\noperation: 5\n' } }, 'job'],
    ['a block job runs', { blockjob: { output: ' type=Block Copy\n bandwidth=0\n' } }, 'block-job'],
    [
      'QEMU is too old',
      { version: { output: 'Running hypervisor: QEMU 3.1.0\nRunning against daemon: 9.0.0\n' } },
      'qemu-version',
    ],
    ['an image is missing', { domblkinfo: { error: "error: Failed to stat '/images/a.qcow2'\n" } }, 'disk'],
  ] as const)('is unfit when %s', async (_name, answers, id) => {
    const { code, verdict, findings } = await diagnose(answers);
    expect(code).toBe(62);
    expect(verdict).toMatchObject({ full: false, incremental: false });
    const problems = findings.filter(({ status }) => status === 'problem');
    expect(new Set(problems.map(problem => problem.id))).toEqual(new Set([id]));
    for (const { fix } of problems) expect(fix).toBeTruthy();
  });

  it('is unfit when the scratch folder cannot keep its reserve', async () => {
    const { code, findings } = await diagnose({}, ['--scratch-reserve', '100000G']);
    expect(code).toBe(62);
    expect(findings).toContainEqual(expect.objectContaining({ id: 'scratch-space', status: 'problem' }));
  });

  it('is unfit when the connection can only read', async () => {
    const PATH = await makeFakeVirsh(folder, HEALTHY);
    // Only with --security-info: the description itself anybody may read.
    const script = folder.file('fake-bin', 'virsh');
    const refuse = 'error: operation forbidden: virDomainGetXMLDesc with secure flag';
    const text = await readFile(script, 'utf8');
    await writeFile(
      script,
      text.replace('\n', `\ncase "$*" in *security-info*) echo "${refuse}" >&2; exit 1;; esac\n`),
    );
    const result = await nbdelta(['doctor', 'libvirt:web1', '--scratch', folder.path, '--json'], {
      env: { PATH },
    });
    expect(result.code).toBe(62);
    const { findings } = JSON.parse(result.stdout) as Diagnosis;
    expect(findings).toContainEqual(expect.objectContaining({ id: 'permission', status: 'problem' }));
  });

  it('goes on when one question fails', async () => {
    const { code, findings } = await diagnose({ 'checkpoint-list': { error: 'error: something new\n' } });
    expect(code).toBe(0);
    const finding = findings.find(({ id }) => id === 'checkpoints');
    expect(finding).toMatchObject({ status: 'warning', text: expect.stringContaining('something new') });
  });

  it.each([
    ['no such domain', 'dumpxml', "error: failed to get domain 'web1'", 50, 'GUEST_UNKNOWN'],
    ['no daemon', 'uri', 'error: failed to connect to the hypervisor', 52, 'HYPERVISOR_UNREACHABLE'],
    ['no permission', 'uri', 'error: authentication unavailable: no polkit agent', 54, 'HYPERVISOR_DENIED'],
  ] as const)('%s is an error of its own', async (_name, command, error, exitCode, code) => {
    const result = await doctor({ [command]: { error: `${error}\n` } });
    expect((JSON.parse(result.stdout) as ErrorJson).error).toMatchObject({ code, exitCode });
    expect(result.code).toBe(exitCode);
  });

  it('a libvirt that is too old is an error that says which is needed', async () => {
    const old = { output: 'Running hypervisor: QEMU 5.2.0\nRunning against daemon: 6.0.0\n' };
    const result = await doctor({ version: old });
    const { error } = JSON.parse(result.stdout) as ErrorJson;
    expect(error).toMatchObject({ code: 'HYPERVISOR_TOO_OLD', exitCode: 53 });
    expect(error.message).toMatch(/6\.0\.0.*7\.0/);
  });

  it('needs virsh', async () => {
    const empty = folder.file('empty-bin');
    await mkdir(empty, { recursive: true });
    const result = await nbdelta(['doctor', 'libvirt:web1', '--json'], { env: { PATH: empty } });
    expect((JSON.parse(result.stdout) as ErrorJson).error).toMatchObject({
      code: 'TOOL_MISSING',
      exitCode: 32,
    });
  });
});
