import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  checkVersions,
  compareVersions,
  parseCapacity,
  parseJob,
  parseNames,
  parseState,
  parseVersions,
} from '#nbdelta/hypervisor/libvirt/virsh-output.js';

const VERSION = `Compiled against library: libvirt 8.0.0
Using library: libvirt 8.0.0
Using API: QEMU 8.0.0
Running hypervisor: QEMU 7.2.22
Running against daemon: 9.0.0
`;

describe('parseVersions', () => {
  it("reads the daemon's version, not virsh's own", () => {
    expect(parseVersions(VERSION)).toEqual({ libvirt: '9.0.0', qemu: '7.2.22' });
    expect(() => parseVersions('Using library: libvirt 8.0.0')).toThrow('printed something unknown');
  });

  it('says which version is needed', () => {
    expect(() => checkVersions({ libvirt: '6.10.0', qemu: undefined })).toThrow(
      expect.objectContaining({
        code: 'HYPERVISOR_TOO_OLD',
        message: expect.stringMatching(/6\.10\.0.*7\.0\.0/),
      }),
    );
    checkVersions({ libvirt: '7.0.0', qemu: undefined });
    checkVersions({ libvirt: '10.0.0', qemu: undefined });
  });

  it('compares numbers, not text', () => {
    const version = fc.array(fc.nat(200), { minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(version, version, (a, b) => {
        const [x, y] = [a.join('.'), b.join('.')];
        expect(Math.sign(compareVersions(x, y))).toBe(-Math.sign(compareVersions(y, x)) + 0);
        const index = [0, 1, 2].find(i => (a[i] ?? 0) !== (b[i] ?? 0));
        const expected = index === undefined ? 0 : Math.sign((a[index] ?? 0) - (b[index] ?? 0));
        expect(Math.sign(compareVersions(x, y))).toBe(expected);
      }),
    );
  });
});

describe('parseJob', () => {
  it('reads a backup that runs', () => {
    const output =
      'Job type: 2\n\noperation: 9\ntime_elapsed: 88\ndisk_temp_used: 4096\ndisk_temp_total: 1073741824\n';
    expect(parseJob(output)).toEqual({ isActive: true, operation: 'backup', temporaryUsed: 4096 });
  });

  it('knows no job, one that has ended, and others', () => {
    expect(parseJob('Job type: 0\n\n')).toMatchObject({ isActive: false });
    expect(parseJob('Job type: 3\n\noperation: 9\n')).toMatchObject({ isActive: false });
    expect(parseJob('Job type: 1\n\noperation: 5\n')).toMatchObject({
      isActive: true,
      operation: 'migration out',
    });
    expect(parseJob('Job type: 2\n\noperation: 99\n').operation).toBe('unknown job');
    expect(() => parseJob('hello')).toThrow('printed something unknown: "hello"');
  });
});

describe('parseState', () => {
  it.each([
    ['running (booted)', 'running', 'booted'],
    ['paused (I/O error)', 'paused', 'I/O error'],
    ['shut off (crashed)', 'off', 'crashed'],
    ['in shutdown (user)', 'running', 'user'],
    ['pmsuspended', 'paused', ''],
  ])('%s', (output, state, reason) => {
    expect(parseState(`${output}\n\n`)).toEqual({ state, reason });
  });

  it('refuses what it does not know', () => {
    expect(() => parseState('dreaming (deeply)')).toThrow('domstate');
  });
});

it('reads sizes and names', () => {
  expect(parseCapacity('Capacity:       1073741824\nAllocation:     200704\n')).toBe(1073741824);
  expect(() => parseCapacity('Capacity:       -\n')).toThrow('domblkinfo');
  expect(() => parseCapacity('Capacity:       99999999999999999999\n')).toThrow('domblkinfo');
  expect(parseNames('c1\n c 2\n\n')).toEqual(['c1', ' c 2']);
});
