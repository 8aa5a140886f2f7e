import { describeGuestBackups } from '../conformance/guest-backup-suite.js';
import { startImageGuest } from '../conformance/image-harness.js';
import { describeWith } from '../support/peers.js';

describeWith(['qemu-img', 'qemu-io', 'qemu-nbd'], 'images of a guest that is off', () => {
  describeGuestBackups('image', startImageGuest);
});
