import { errorLine, HypervisorError } from '../../errors.js';

/** Whether the system says that there is no such thing. */
export function isMissing(error: unknown): boolean {
  return codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR';
}

/** What the system refused on the hypervisor's machine: HYPERVISOR_DENIED or HYPERVISOR_FAILED. */
export function hostFailure(what: string, cause: unknown): HypervisorError {
  if (cause instanceof HypervisorError) return cause;
  const isDenied = ['EACCES', 'EPERM', 'EROFS'].includes(codeOf(cause));
  const code = isDenied ? 'HYPERVISOR_DENIED' : 'HYPERVISOR_FAILED';
  return new HypervisorError(code, `${what}: ${errorLine(cause)}`, {
    cause,
    ...(isDenied ? { hint: 'run as root, or choose another place' } : {}),
  });
}

function codeOf(error: unknown): string {
  return String((error as NodeJS.ErrnoException | undefined)?.code ?? '');
}
