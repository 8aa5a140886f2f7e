import { describe, expect, it } from 'vitest';
import { brokenBitmap, virshError, wordsOf } from '#nbdelta/hypervisor/libvirt/virsh-error.js';

describe('virshError', () => {
  // Words of virsh 9.0 in the C locale, as they were seen.
  it.each([
    ['GUEST_UNKNOWN', "error: failed to get domain 'nope'"],
    ['GUEST_UNKNOWN', "error: failed to get domain 'permission denied; guest agent'"],
    [
      'HYPERVISOR_UNREACHABLE',
      // A virsh that is kept, when libvirtd was restarted.
      "error: Failed to reconnect to the hypervisor; error: Failed to connect socket to '/s': Connection refused",
    ],
    [
      'HYPERVISOR_UNREACHABLE',
      "error: failed to connect to the hypervisor; error: Failed to connect socket to '/nope': No such file or directory",
    ],
    [
      'HYPERVISOR_UNREACHABLE',
      'error: failed to connect to the hypervisor; error: Cannot recv data: ssh: Could not resolve hostname nohost.invalid: Name or service not known: Connection reset by peer',
    ],
    [
      'HYPERVISOR_DENIED',
      "error: failed to connect to the hypervisor; error: Failed to connect socket to '/run/libvirt/libvirt-sock': Permission denied",
    ],
    [
      'HYPERVISOR_DENIED',
      'error: failed to connect to the hypervisor; error: Cannot recv data: root@127.0.0.1: Permission denied (publickey).: Connection reset by peer',
    ],
    [
      'HYPERVISOR_DENIED',
      'error: failed to connect to the hypervisor; error: authentication unavailable: no polkit agent available to authenticate action',
    ],
    [
      'HYPERVISOR_DENIED',
      'error: failed to connect to the hypervisor; error: Cannot recv data: Host key verification failed.: Connection reset by peer',
    ],
    ['HYPERVISOR_TOO_OLD', "error: unknown command: 'backup-begin'"],
    ['HYPERVISOR_TOO_OLD', 'error: Operation not supported: incremental backup is not supported yet'],
    ['HYPERVISOR_TOO_OLD', "error: command 'domjobinfo' doesn't support option --rawstats"],
    [
      'JOB_CONFLICT',
      'error: Timed out during operation: cannot acquire state change lock (held by monitor=remoteDispatchDomainBackupBegin)',
    ],
    [
      'JOB_CONFLICT',
      "error: internal error: unable to execute QEMU command 'transaction': Bitmap already exists: cpX",
    ],
    [
      'AGENT_FAILED',
      'error: Unable to freeze filesystems; error: argument unsupported: QEMU guest agent is not configured',
    ],
    ['GUEST_STATE', 'error: Requested operation is not valid: domain is not running'],
    ['HYPERVISOR_FAILED', 'error: something new'],
    ['HYPERVISOR_FAILED', ''],
  ])('%s: %s', (code, stderr) => {
    const error = virshError('dumpxml', stderr, 1);
    expect(error.code).toBe(code);
    expect(error.message).toMatch(/^virsh dumpxml/);
    expect(error.message).not.toMatch(/(^|; )error:|\n/);
  });

  it('keeps the words for who has to tell them apart', () => {
    const error = virshError(
      'x',
      "error: checkpoint inconsistent: missing or broken bitmap 'cp0' for disk 'vda'",
      1,
    );
    expect(wordsOf(error)).toContain('checkpoint inconsistent');
    expect(brokenBitmap(error)).toEqual({ bitmap: 'cp0', disk: 'vda' });
    expect(brokenBitmap(new Error("missing or broken bitmap 'cp0' for disk 'vda'"))).toBeUndefined();
  });
});
