import { describe, expect, it } from 'vitest';
import type { RunningBackup } from '#nbdelta/hypervisor/libvirt/backup-xml.js';
import type { SelectedDisk } from '#nbdelta/hypervisor/libvirt/guest-description.js';
import { planJobDisks, type Reach, sessionDisks } from '#nbdelta/hypervisor/libvirt/job-plan.js';
import { parseNbdUri } from '#nbdelta/nbd/protocol/uri.js';

const RUN = 'nbdelta-0123abcd-20261123T232718Z-cad5d604';
const SCRATCH = { place: '/var/tmp', isDevice: false, room: 1, reserve: 0 };

function disk(target: string, format = 'qcow2'): SelectedDisk {
  return {
    ...{ target, type: 'file', device: 'disk', format, source: `/${target}`, path: `/${target}`, size: 512 },
    ...{
      isReadonly: false,
      isShareable: false,
      isTransient: false,
      inIoThread: false,
      encryption: undefined,
    },
  };
}

const missing = { code: 'disk-not-in-checkpoint', text: 'it is new' };
const plan = planJobDisks([disk('vda'), disk('vdb'), disk('vdc', 'raw')], {
  run: RUN,
  checkpoint: true,
  scratch: SCRATCH,
  base: { name: 'c1', unusable: new Map([['vdb', missing]]), warnings: [] },
});

describe('planJobDisks', () => {
  it('reads each disk since the base, or whole with a reason', () => {
    expect(plan.map(({ job, reason }) => [job.name, job.since, job.hasCheckpoint, reason?.code])).toEqual([
      ['vda', 'c1', true, undefined],
      ['vdb', null, true, 'disk-not-in-checkpoint'],
      ['vdc', null, false, 'no-persistent-bitmap'],
    ]);
    expect(plan[0]?.job.scratch.path).toBe(`/var/tmp/${RUN}-vda.qcow2`);
  });

  it('begins no checkpoint with a copy, and puts a device to use', () => {
    const scratch = { ...SCRATCH, place: '/dev/sdz', isDevice: true };
    const base = { name: null, unusable: new Map(), warnings: [] };
    const [only] = planJobDisks([disk('vda')], { run: RUN, checkpoint: false, scratch, base });
    expect(only).toMatchObject({ reason: null, job: { since: null, hasCheckpoint: false } });
    expect(only?.job.scratch).toEqual({ path: '/dev/sdz', isDevice: true });
  });
});

describe('sessionDisks', () => {
  const running = (changes: object): RunningBackup => ({
    ...{ mode: 'pull', server: undefined, runs: [] },
    disks: [{ name: 'vda', exportName: undefined, exportBitmap: undefined, scratch: undefined, ...changes }],
  });
  const unix: Reach = {
    server: { kind: 'unix', socket: '/a b/s' },
    certificates: undefined,
    hostName: 'localhost',
  };

  it("takes libvirt's names, and its defaults where it says none", () => {
    const named = sessionDisks(plan, running({ exportName: 'x/y', exportBitmap: 'bits' }), unix);
    expect(named[0]).toMatchObject({ uri: 'nbd+unix:///x/y?socket=/a%20b/s', bitmap: 'bits' });
    const plain = sessionDisks(plan, running({}), unix);
    expect(plain.map(({ uri, bitmap }) => [parseNbdUri(uri).exportName, bitmap])).toEqual([
      ['vda', 'backup-vda'],
      ['vdb', null],
      ['vdc', null],
    ]);
  });

  it('reads over TCP with TLS only, and reaches a server that listens everywhere by its name', () => {
    const at = (host: string) => {
      const reach: Reach = {
        server: { kind: 'tcp', host, port: 10809 },
        certificates: '/c d',
        hostName: 'kvm1',
      };
      return parseNbdUri(sessionDisks(plan, running({}), reach)[0]!.uri);
    };
    expect(at('10.0.0.5')).toMatchObject({
      address: { kind: 'tcp', host: '10.0.0.5', port: 10809 },
      tls: { kind: 'x509', certificates: '/c d', hostname: '10.0.0.5' },
    });
    expect(at('0.0.0.0').address).toMatchObject({ host: 'kvm1' });
    expect(at('::1').address).toMatchObject({ host: '::1' });
  });
});
