import { describe, it } from 'vitest';
import { findProgram } from './programs.js';

/** Programs of other projects that a test compares nbdelta with. */
export type PeerTool =
  | 'qemu-img'
  | 'qemu-io'
  | 'qemu-nbd'
  | 'qemu-storage-daemon'
  | 'qemu-system-x86_64'
  | 'nbdkit'
  | 'nbdinfo'
  | 'nbdcopy'
  | 'nbd-server'
  | 'certtool'
  | 'psktool'
  | 'zstd'
  | 'tar'
  | 'stdbuf'
  | 'python3'
  | 'openssl'
  | 'virsh'
  | 'libvirtd'
  | 'unshare'
  | 'nsenter'
  | 'flock'
  | 'ssh'
  | 'sshd'
  | 'ssh-keygen'
  | 'busybox'
  | 'cpio'
  | 'e2fsck'
  | 'mkfs.ext4'
  | 'guestfish';

export function hasTool(name: PeerTool): boolean {
  return findProgram(name) !== undefined;
}

/** In CI a missing peer is a failure: a suite that skipped itself would look green. */
const STRICT = ['true', '1'].includes(process.env['CI'] ?? '');

/** Which of the programs are missing, in words; undefined when all are there. */
export function missingTools(tools: readonly PeerTool[]): string | undefined {
  const missing = tools.filter(tool => !hasTool(tool));
  return missing.length === 0 ? undefined : `not installed: ${missing.join(', ')}`;
}

/**
 * `describe`, unless there is a reason against it: then the suite is skipped under a name that says why; with
 * CI=true it is a failing test instead.
 */
export function describeUnless(reason: string | undefined, name: string, tests: () => void): void {
  if (reason === undefined) {
    describe(name, tests);
    return;
  }
  if (!STRICT) {
    describe.skip(`${name} (${reason})`, tests);
    return;
  }
  describe(name, () => {
    it('has what it needs', () => {
      throw new Error(`${reason}; \`npm test\` as root installs programs on Debian`);
    });
  });
}

/** `describe` for tests that need peers: a visible skip where one is missing, in CI a failure. */
export function describeWith(tools: readonly PeerTool[], name: string, tests: () => void): void {
  describeUnless(missingTools(tools), name, tests);
}
