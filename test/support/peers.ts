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
  | 'ssh'
  | 'sshd'
  | 'ssh-keygen'
  | 'busybox'
  | 'cpio'
  | 'e2fsck';

export function hasTool(name: PeerTool): boolean {
  return findProgram(name) !== undefined;
}

/** In CI a missing peer is a failure: a suite that skipped itself would look green. */
const STRICT = ['true', '1'].includes(process.env['CI'] ?? '');

/**
 * `describe` for tests that need peers. When one is missing, the suite is skipped under a name that says
 * which; with CI=true it is a failing test instead.
 */
export function describeWith(tools: readonly PeerTool[], name: string, tests: () => void): void {
  const missing = tools.filter(tool => !hasTool(tool));
  if (missing.length === 0) {
    describe(name, tests);
    return;
  }
  const reason = `not installed: ${missing.join(', ')}`;
  if (!STRICT) {
    describe.skip(`${name} (${reason})`, tests);
    return;
  }
  describe(name, () => {
    it('has the programs that it needs', () => {
      throw new Error(`${reason}; \`npm test\` as root installs them on Debian`);
    });
  });
}
