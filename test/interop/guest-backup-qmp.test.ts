import { describeGuestBackups } from '../conformance/guest-backup-suite.js';
import { startQmpGuest } from '../conformance/qmp-harness.js';
import { describeWith } from '../support/peers.js';

describeWith(['qemu-system-x86_64', 'qemu-img', 'stdbuf'], 'plain QEMU', () => {
  describeGuestBackups('qmp', startQmpGuest);
});
