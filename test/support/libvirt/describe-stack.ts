import { spawnSync } from 'node:child_process';
import { describeUnless, missingTools, type PeerTool } from '../peers.js';

/** What a private libvirtd with a guest in it takes. */
const TOOLS: readonly PeerTool[] = [
  ...(['virsh', 'libvirtd', 'qemu-system-x86_64', 'qemu-img', 'unshare', 'nsenter', 'flock'] as const),
];

/** Whether we may make a mount namespace: root may, but not in every container. */
function whyNoNamespace(): string | undefined {
  if (process.getuid?.() !== 0) return 'a private libvirtd needs root';
  const { status, stderr } = spawnSync('unshare', ['-m', 'mount', '--bind', '/run', '/run'], {
    encoding: 'utf8',
  });
  return status === 0 ? undefined : `no mount namespace: ${stderr.trim()}`;
}

/** `describe` for tests with a real libvirtd; where that is impossible a visible skip, in CI a failure. */
export function describeStack(name: string, tests: () => void, tools: readonly PeerTool[] = []): void {
  describeUnless(missingTools([...TOOLS, ...tools]) ?? whyNoNamespace(), name, tests);
}
