import { describeGuestBackups } from '../conformance/guest-backup-suite.js';
import { startLibvirtGuest } from '../conformance/libvirt-harness.js';
import { describeStack } from '../support/libvirt/describe-stack.js';

describeStack('libvirt', () => {
  describeGuestBackups('libvirt', startLibvirtGuest);
});
