import { HypervisorError } from '../../errors.js';

/** Dotted numbers of what runs there. */
export interface LibvirtVersions {
  /** The daemon's, not virsh's own. */
  readonly libvirt: string;
  readonly qemu: string | undefined;
}

/** The oldest libvirt whose checkpoints' bitmaps each record for themselves; deleting one before merged it away. */
export const OLDEST_LIBVIRT = '7.0.0';

/** Reads `virsh version --daemon`. */
export function parseVersions(output: string): LibvirtVersions {
  const daemon = /^Running against daemon: (\d+(?:\.\d+)*)/m.exec(output)?.[1];
  if (daemon === undefined) throw unreadable('version', output);
  return { libvirt: daemon, qemu: /^Running hypervisor: \S+ (\d+(?:\.\d+)*)/m.exec(output)?.[1] };
}

/** @throws HypervisorError HYPERVISOR_TOO_OLD. */
export function checkVersions({ libvirt }: LibvirtVersions): void {
  if (compareVersions(libvirt, OLDEST_LIBVIRT) >= 0) return;
  throw new HypervisorError(
    'HYPERVISOR_TOO_OLD',
    `libvirt ${libvirt} is too old: ${OLDEST_LIBVIRT} or newer is needed`,
    { hint: 'upgrade libvirt on the host of the guest', fields: { seen: libvirt, needed: OLDEST_LIBVIRT } },
  );
}

/** Below zero when `a` is older. */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [a, b].map(text => text.split('.').map(Number)) as [number[], number[]];
  for (let index = 0; index < Math.max(left.length, right.length); index++) {
    const difference = (left[index] ?? 0) - (right[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** The job of a domain, as `virsh domjobinfo --rawstats` tells. */
export interface DomainJob {
  readonly isActive: boolean;
  /** `backup`, or what else libvirt does: `migration out`, `snapshot` … */
  readonly operation: string;
  /** Bytes in the scratch files. */
  readonly temporaryUsed: number | undefined;
}

/** virDomainJobType: NONE, BOUNDED, UNBOUNDED, COMPLETED, FAILED, CANCELLED. */
const ACTIVE_TYPES = ['1', '2'];

/** virDomainJobOperation. */
const OPERATIONS = [
  'unknown job',
  'start',
  'save',
  'restore',
  'migration in',
  'migration out',
  'snapshot',
  'snapshot revert',
  'dump',
  'backup',
  'snapshot delete',
];

/** Reads `virsh domjobinfo --rawstats`. */
export function parseJob(output: string): DomainJob {
  const type = /^Job type:\s*(\w+)/m.exec(output)?.[1];
  if (type === undefined) throw unreadable('domjobinfo', output);
  const operation = field(output, 'operation');
  return {
    isActive: ACTIVE_TYPES.includes(type),
    operation: OPERATIONS[operation ?? 0] ?? OPERATIONS[0]!,
    temporaryUsed: field(output, 'disk_temp_used'),
  };
}

function field(output: string, name: string): number | undefined {
  const digits = new RegExp(`^${name}: (\\d+)$`, 'm').exec(output)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/** Reads the virtual size from `virsh domblkinfo`. Bytes. */
export function parseCapacity(output: string): number {
  const size = Number(/^Capacity:\s*(\d+)$/m.exec(output)?.[1]);
  if (Number.isSafeInteger(size)) return size;
  throw unreadable('domblkinfo', output);
}

export interface DomainState {
  readonly state: 'running' | 'paused' | 'off';
  /** In libvirt's words: `booted`, `I/O error` … */
  readonly reason: string;
}

/** Reads `virsh domstate --reason`: `paused (I/O error)`. */
export function parseState(output: string): DomainState {
  const [, text, reason = ''] = /^([a-z ]+?)(?: \((.*)\))?$/m.exec(output.trim()) ?? [];
  switch (text) {
    case 'running':
    case 'idle':
    // Still up, until the guest has done it.
    case 'in shutdown':
      return { state: 'running', reason };
    case 'paused':
    case 'pmsuspended':
      return { state: 'paused', reason };
    case 'shut off':
      return { state: 'off', reason };
    case 'crashed':
      // QEMU may be there, preserved for a look; it writes no more.
      return { state: 'paused', reason };
    default:
      throw unreadable('domstate', output);
  }
}

/** Reads a list of names, one a line. */
export function parseNames(output: string): readonly string[] {
  return output.split('\n').filter(line => line.trim() !== '');
}

function unreadable(command: string, output: string): HypervisorError {
  const start = JSON.stringify(output.trim().slice(0, 80));
  return new HypervisorError('HYPERVISOR_FAILED', `virsh ${command} printed something unknown: ${start}`, {
    hint: "is the virsh in PATH libvirt's own?",
  });
}
