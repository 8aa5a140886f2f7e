import { errorLine, NbdeltaError, RepositoryError, UsageError } from '../../errors.js';

/** What libguestfs says for people, without where in our script it was and without its advice. */
export function complaintOf(text: string): string {
  const errors = [...text.matchAll(/libguestfs: error: (.*)/g)].map(([, said]) => said!.trim());
  return errors[0] ?? text.trim().replace(/\s*\n\s*/g, '; ');
}

export function guestfishMissing(cause: unknown): NbdeltaError {
  const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
  const why = missing ? 'it is not installed' : errorLine(cause);
  return new NbdeltaError('TOOL_MISSING', `guestfish is needed for single files: ${why}`, {
    cause,
    hint: missing
      ? 'install libguestfs-tools (Debian, Ubuntu) or guestfs-tools (Fedora), or restore the disk'
      : 'see what the system says',
    fields: { tool: 'guestfish' },
  });
}

/** The error for a command that guestfish refused, or at which it ended. */
export function guestfishFailed(command: string, text: string): NbdeltaError {
  const said = complaintOf(text);
  // "download: /etc/nope: No such file or directory"
  const about = said.replace(new RegExp(`^${command.replaceAll('-', '_')}: (?:opendir: |open: )?`), '');
  if (said.endsWith('No such file or directory')) return fileUnknown(about);
  if (/: is a directory$/i.test(said)) return new UsageError(about, { hint: 'cp takes folders' });
  if (/: Not a directory$/.test(said)) return new UsageError(about);
  return new NbdeltaError('TOOL_MISSING', `guestfish failed: ${said || 'it ended without a word'}`, {
    hint: 'libguestfs-test-tool shows whether libguestfs works here',
    fields: { tool: 'guestfish', command },
  });
}

function fileUnknown(about: string): NbdeltaError {
  return new RepositoryError('FILE_UNKNOWN', about, {
    hint: 'ls shows what is there; a path begins at the root of the guest',
  });
}
