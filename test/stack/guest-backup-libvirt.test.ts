import { describeGuestBackups } from '../conformance/guest-backup-suite.js';
import { startLibvirtGuest } from '../conformance/libvirt-harness.js';
import { describeWith } from '../support/peers.js';

describeWith(['virsh', 'libvirtd', 'qemu-system-x86_64', 'qemu-img', 'unshare', 'nsenter'], 'libvirt', () => {
  describeGuestBackups('libvirt', startLibvirtGuest);
});
