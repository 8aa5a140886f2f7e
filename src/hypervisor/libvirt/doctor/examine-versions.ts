import type { Finding } from '../../front-end.js';
import type { LibvirtVersions } from '../virsh-output.js';
import { compareVersions, OLDEST_LIBVIRT } from '../virsh-output.js';

/** The oldest QEMU that libvirt's incremental backup works with. */
const OLDEST_QEMU = '4.2.0';

/** What newer ones do better, newest first. */
const LIBVIRT_STEPS: readonly Step[] = [
  { version: '11.10.0', gain: 'a job can outlive the shutdown of its guest' },
];
const QEMU_STEPS: readonly Step[] = [
  {
    version: '9.1.0',
    gain: 'clients that vanish cannot crash it (CVE-2024-7409; fixed in updates of older ones, too)',
  },
  { version: '8.2.0', gain: 'maps of large disks in fewer requests (extended headers)' },
];

interface Step {
  readonly version: string;
  readonly gain: string;
}

/** libvirt and QEMU against what is needed, and what newer ones would add. */
export function examineVersions({ libvirt, qemu }: LibvirtVersions): readonly Finding[] {
  return [
    judgeVersion('libvirt-version', 'libvirt', libvirt, OLDEST_LIBVIRT, LIBVIRT_STEPS),
    qemu === undefined
      ? { id: 'qemu-version', status: 'info', text: 'libvirt does not say which QEMU it has' }
      : judgeVersion('qemu-version', 'QEMU', qemu, OLDEST_QEMU, QEMU_STEPS),
  ];
}

function judgeVersion(
  id: string,
  name: string,
  seen: string,
  needed: string,
  steps: readonly Step[],
): Finding {
  if (compareVersions(seen, needed) < 0) {
    const text = `${name} ${seen} is too old: ${needed} or newer is needed`;
    return { id, status: 'problem', text, fix: `upgrade ${name} on the host of the guest` };
  }
  const better = steps.filter(({ version }) => compareVersions(seen, version) < 0);
  const gains = better.map(({ version, gain }) => `${version}: ${gain}`).join('; ');
  return {
    id,
    status: 'ok',
    text: gains === '' ? `${name} ${seen}` : `${name} ${seen} (newer ones add, ${gains})`,
  };
}
