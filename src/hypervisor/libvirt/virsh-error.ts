import { type ErrorCode, HypervisorError } from '../../errors.js';

interface Rule {
  readonly pattern: RegExp;
  readonly code: ErrorCode;
  readonly hint?: string;
  readonly retryable?: boolean;
}

const DENIED_HINT = 'run as root or as a member of the group libvirt, or give the right --connect';

/** The first that fits. virsh has no error numbers in its output; these are its words in the C locale. */
const RULES: readonly Rule[] = [
  {
    pattern: /host key verification failed/i,
    code: 'HYPERVISOR_DENIED',
    hint: "connect once with ssh to accept the host's key, or add it to known_hosts",
  },
  {
    pattern: /permission denied|access denied|authentication (failed|unavailable|required)|not authorized/i,
    code: 'HYPERVISOR_DENIED',
    hint: DENIED_HINT,
  },
  {
    pattern: /operation (.* )?forbidden/i,
    code: 'HYPERVISOR_DENIED',
    hint: DENIED_HINT,
  },
  {
    pattern:
      /failed to (re)?connect to the hypervisor|client socket is closed|end of file while reading|disconnected from|connection reset by peer|cannot (recv|write) data|keepalive/i,
    code: 'HYPERVISOR_UNREACHABLE',
    hint: 'is libvirtd (or virtqemud) running there? give the right --connect',
    retryable: true,
  },
  {
    pattern: /guest agent/i,
    code: 'AGENT_FAILED',
    hint: 'is qemu-guest-agent installed and running in the guest, with its channel in the domain?',
  },
  {
    pattern: /domain not found|failed to get domain/i,
    code: 'GUEST_UNKNOWN',
    hint: 'see `virsh list --all`',
  },
  {
    pattern:
      /unknown command|doesn't support option|incremental backup is not supported|not supported by the connection driver/i,
    code: 'HYPERVISOR_TOO_OLD',
    hint: 'libvirt 7.0 or newer with QEMU 6.0 or newer is needed',
  },
  {
    pattern:
      /cannot acquire state change lock|active block job|another (backup|job)|bitmap already exists|domain moment .* already exists/i,
    code: 'JOB_CONFLICT',
    hint: 'see `virsh domjobinfo` and `virsh blockjob`; wait for it, or have its owner end it',
    retryable: true,
  },
  { pattern: /domain is not running/i, code: 'GUEST_STATE', hint: 'start the domain, or shut it down' },
];

/** What virsh said, on one line: without its `error:` in front of every part. */
export function virshWords(stderr: string): string {
  return stderr
    .split(/\s*(?:\n|; )\s*/)
    .map(part => part.replace(/^error:\s*/, ''))
    .filter(part => part !== '')
    .join('; ');
}

/** The error for what virsh said when `command` failed. */
export function virshError(command: string, stderr: string, code: number): HypervisorError {
  const words = virshWords(stderr);
  // A domain may be called anything; what is quoted says nothing of what went wrong.
  const unquoted = words.replace(/'[^']*'/g, "''");
  const rule = RULES.find(({ pattern }) => pattern.test(unquoted));
  return new HypervisorError(
    rule?.code ?? 'HYPERVISOR_FAILED',
    words === '' ? `virsh ${command} failed: exit code ${code}` : `virsh ${command}: ${words}`,
    {
      ...(rule?.hint === undefined ? {} : { hint: rule.hint }),
      ...(rule?.retryable === undefined ? {} : { retryable: rule.retryable }),
      fields: { command, words },
    },
  );
}

/** What virsh said, of an error of {@link virshError}; empty for others. */
export function wordsOf(error: unknown): string {
  return error instanceof HypervisorError ? String(error.fields['words'] ?? '') : '';
}

const BROKEN_BITMAP = /missing or broken bitmap '([^']*)' for disk '([^']*)'/;

/** The disk whose bitmap libvirt finds missing or inconsistent, when that is what it said. */
export function brokenBitmap(error: unknown): { readonly bitmap: string; readonly disk: string } | undefined {
  const [, bitmap, disk] = BROKEN_BITMAP.exec(wordsOf(error)) ?? [];
  return bitmap === undefined || disk === undefined ? undefined : { bitmap, disk };
}
