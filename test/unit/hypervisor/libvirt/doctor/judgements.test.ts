/** What the doctor makes of what it saw, without a hypervisor. */
import { describe, expect, it } from 'vitest';
import type { Checkpoint } from '#nbdelta/hypervisor/libvirt/checkpoint-xml.js';
import { parseDomainDetails } from '#nbdelta/hypervisor/libvirt/doctor/domain-details.js';
import { judgeCheckpoints } from '#nbdelta/hypervisor/libvirt/doctor/examine-checkpoints.js';
import { judgeRoom } from '#nbdelta/hypervisor/libvirt/doctor/examine-scratch.js';
import { judgeLabel } from '#nbdelta/hypervisor/libvirt/doctor/examine-selinux.js';
import { judgeLength } from '#nbdelta/hypervisor/libvirt/doctor/examine-socket-folder.js';
import { judgeCertificate } from '#nbdelta/hypervisor/libvirt/doctor/examine-tls.js';
import { examineVersions } from '#nbdelta/hypervisor/libvirt/doctor/examine-versions.js';
import { parseBackupTls, parseOwnershipDynamic } from '#nbdelta/hypervisor/libvirt/doctor/qemu-conf.js';

describe('versions', () => {
  it.each([
    ['6.10.0', '7.2.22', ['problem', 'ok']],
    ['7.0.0', '4.2.0', ['ok', 'ok']],
    ['9.0.0', '4.1.1', ['ok', 'problem']],
    ['10.0.0', undefined, ['ok', 'info']],
  ])('libvirt %s with QEMU %s', (libvirt, qemu, expected) => {
    expect(examineVersions({ libvirt, qemu }).map(({ status }) => status)).toEqual(expected);
  });

  it('newer than everything has nothing to gain', () => {
    const texts = examineVersions({ libvirt: '99.0.0', qemu: '99.0.0' }).map(({ text }) => text);
    expect(texts).toEqual(['libvirt 99.0.0', 'QEMU 99.0.0']);
  });
});

describe('checkpoints', () => {
  const OURS = 'nbdelta-0a0b0c0d-20240101T000000Z-11223344';
  const checkpoint = (
    name: string,
    size: number | undefined,
    bitmap: string | undefined = name,
  ): Checkpoint => ({
    ...{ name, parent: undefined, domainUuid: undefined },
    disks: [{ name: 'vda', bitmap, size }],
  });

  it('without any', () => {
    expect(judgeCheckpoints([], true)).toMatchObject([{ id: 'checkpoints', status: 'info' }]);
  });

  it("are told by owner, and somebody else's by name", () => {
    const other = 'nbdelta-ffffffff-20240101T000000Z-11223344';
    const findings = judgeCheckpoints(
      [checkpoint('virtnbdbackup.0', 1), checkpoint(OURS, 65536), checkpoint(other, 2)],
      true,
    );
    expect(findings).toMatchObject([
      { status: 'info', text: expect.stringContaining('virtnbdbackup.0') },
      { status: 'ok', text: expect.stringMatching(/owner 0a0b0c0d.*vda 65536/) },
      { status: 'ok', text: expect.stringContaining('owner ffffffff') },
    ]);
  });

  it('with a broken bitmap are a warning where they are ours', () => {
    const bitmaps = (list: readonly Checkpoint[], isMeasured: boolean) =>
      judgeCheckpoints(list, isMeasured).filter(({ id }) => id === 'bitmap');
    expect(bitmaps([checkpoint(OURS, undefined)], true)).toMatchObject([{ status: 'warning', disk: 'vda' }]);
    expect(bitmaps([checkpoint('theirs', undefined)], true)).toMatchObject([{ status: 'info' }]);
    expect(bitmaps([checkpoint(OURS, 0)], true)).toEqual([]);
    // Of a domain that is off nothing was asked, and a disk that is not in the checkpoint has no bitmap to break.
    expect(bitmaps([checkpoint(OURS, undefined)], false)).toEqual([]);
    const without = {
      ...checkpoint(OURS, undefined),
      disks: [{ name: 'vdb', bitmap: undefined, size: undefined }],
    };
    expect(bitmaps([without], true)).toEqual([]);
  });
});

describe('room for scratch files', () => {
  const scratch = { place: '/var/tmp', isDevice: false, reserve: 256 };
  it.each([
    [255, 'problem'],
    [256, 'warning'],
    [2999, 'warning'],
    [4000, 'ok'],
  ])('%d bytes for disks of 3000', (room, status) => {
    expect(judgeRoom({ ...scratch, room }, [1000, 2000])).toMatchObject({ id: 'scratch-space', status });
  });
});

describe('the socket folder', () => {
  it('may not make a path longer than a unix socket has', () => {
    expect(judgeLength('/run/nbdelta')).toBeUndefined();
    // "/", 42 bytes of the run's name and "/s" come after it; 107 bytes are the limit.
    expect(judgeLength(`/${'x'.repeat(61)}`)).toBeUndefined();
    expect(judgeLength(`/${'x'.repeat(62)}`)).toMatchObject({ id: 'socket-folder', status: 'problem' });
    expect(judgeLength('relative')).toMatchObject({ status: 'problem' });
  });

  it.each([
    ['system_u:object_r:qemu_var_run_t:s0', 'ok'],
    ['system_u:object_r:var_run_t:s0', 'warning'],
    ['?', 'warning'],
  ])('with the label %s', (label, status) => {
    expect(judgeLabel(label, '/run/nbdelta')).toMatchObject({ id: 'selinux', status });
  });
});

describe('qemu.conf', () => {
  it.each([
    ['', { folder: '/etc/pki/qemu', isVerified: true }],
    ['#backup_tls_x509_cert_dir = "/x"', { folder: '/etc/pki/qemu', isVerified: true }],
    ['default_tls_x509_cert_dir = "/d"\n', { folder: '/d', isVerified: true }],
    [
      'default_tls_x509_cert_dir = "/d"\nbackup_tls_x509_cert_dir="/b" # ours\nbackup_tls_x509_verify = 0',
      { folder: '/b', isVerified: false },
    ],
    [
      'default_tls_x509_verify = 0\nbackup_tls_x509_verify = 1',
      { folder: '/etc/pki/qemu', isVerified: true },
    ],
  ])('%j', (text, expected) => {
    expect(parseBackupTls(text)).toEqual(expected);
  });
});

describe('ownership of scratch files', () => {
  it.each([
    ['', true],
    ['#dynamic_ownership = 0', true],
    ['dynamic_ownership = 1', true],
    ['user = "qemu"\n dynamic_ownership=0 # NFS', false],
  ])('%j', (text, expected) => {
    expect(parseOwnershipDynamic(text)).toBe(expected);
  });
});

describe('a certificate', () => {
  // openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=t -days 365
  const PEM = `-----BEGIN CERTIFICATE-----
MIIBbDCCAROgAwIBAgIUQrfSsNUsYDbqv2KPlaum3FkIOIswCgYIKoZIzj0EAwIw
DDEKMAgGA1UEAwwBdDAeFw0yNjExMjMyMzMwNThaFw0yNzExMjMyMzMwNThaMAwx
CjAIBgNVBAMMAXQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATn7TQwhYseAPe+
CcikonVuHsNjqGjP9sxSAoqdRu4DnNg2JHjkR5YHVfzlZnQwU8YMoN3OoOa8NXVY
cSYyXSfro1MwUTAdBgNVHQ4EFgQUc7QNB4g1vnSo6A89kss+9/vz2cAwHwYDVR0j
BBgwFoAUc7QNB4g1vnSo6A89kss+9/vz2cAwDwYDVR0TAQH/BAUwAwEB/zAKBggq
hkjOPQQDAgNHADBEAiBEyxwwze4P/6t9kpX/DSERzqKUgnjVi2RdRdljO/myCQIg
HchTs/FYgyc/3244WYDxk+S0nRKSI7jjeO+JF0Fkxtg=
-----END CERTIFICATE-----`;
  const END = new Date('2027-11-23T23:30:58Z');
  const before = (days: number) => new Date(END.getTime() - days * 24 * 3600 * 1000);

  it.each([
    [100, true, 'ok'],
    [100, false, 'warning'],
    [13, true, 'warning'],
    [0, true, 'problem'],
    [-1, true, 'problem'],
  ])('%d days before its end, clients verified: %s', (days, isVerified, status) => {
    expect(judgeCertificate('/c.pem', PEM, isVerified, before(days))).toMatchObject({ id: 'tls', status });
  });

  it('that is none', () => {
    expect(judgeCertificate('/c.pem', 'no', true, new Date())).toMatchObject({ status: 'problem' });
  });
});

describe("a domain's description", () => {
  it('has labels, the agent and what is worth a remark of disks', () => {
    const { labels, agent, disks } = parseDomainDetails(`<domain type='kvm'><name>x</name><devices>
      <disk><driver error_policy='report'/><target dev='vda'/>
        <backingStore><source file='a'/><backingStore><source file='b'/><backingStore/></backingStore></backingStore>
      </disk>
      <disk><driver/><backingStore/><target dev='vdb'/></disk>
      <channel><target type='virtio' name='org.qemu.guest_agent.0' state='connected'/></channel>
      </devices>
      <seclabel model='apparmor'><label>libvirt-1</label></seclabel>
      <seclabel model='dac'><label>+64055:+108</label></seclabel></domain>`);
    expect(Object.fromEntries(labels)).toEqual({ apparmor: 'libvirt-1', dac: '+64055:+108' });
    expect(agent).toBe('connected');
    expect(disks.get('vda')).toEqual({ errorPolicy: 'report', backingImages: 2 });
    expect(disks.get('vdb')).toEqual({ errorPolicy: undefined, backingImages: 0 });
  });

  it.each([
    ["<channel><target type='virtio' name='org.qemu.guest_agent.0'/></channel>", 'unknown'],
    ["<channel><target type='virtio' name='com.redhat.spice.0' state='connected'/></channel>", 'none'],
    ['', 'none'],
  ])('with %s', (channel, expected) => {
    expect(parseDomainDetails(`<domain><devices>${channel}</devices></domain>`).agent).toBe(expected);
  });
});
