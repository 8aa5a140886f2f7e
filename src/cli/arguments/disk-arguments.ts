import { printable, UsageError } from '../../errors.js';
import type { BackupDisk } from '../../operations/backup-options.js';

/** What follows is a name or a path, which may hold `=`. */
const GUEST_SCHEME = /^(libvirt|qmp|image):/i;

const DISK_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/**
 * `DISK=SOURCE` taken apart; `name` is undefined for a bare source, which may have `=` in it.
 * @throws UsageError when what stands before the URI is not a disk name.
 */
export function splitDiskArgument(text: string): { readonly name: string | undefined; readonly uri: string } {
  const at = text.indexOf('=');
  const scheme = text.indexOf('://');
  if (at === -1 || (scheme !== -1 && scheme < at) || GUEST_SCHEME.test(text))
    return { name: undefined, uri: text };
  const name = text.slice(0, at);
  if (DISK_NAME.test(name)) return { name, uri: text.slice(at + 1) };
  throw new UsageError(`${JSON.stringify(printable(name))} is not a disk name`, {
    hint: 'a disk name has 1 to 64 letters, digits, ".", "_" and "-", and begins with a letter or a digit',
  });
}

/**
 * The disks that the arguments of `backup` name. A bare URI's disk is called as its export, or `disk0`,
 * `disk1` … by position where that cannot be a name.
 * @param exportNameOf the export name in a URI.
 * @param bitmap template of the bitmaps' names, `{disk}` is replaced.
 */
export function readDiskArguments(
  texts: readonly string[],
  exportNameOf: (uri: string) => string,
  bitmap: string | undefined,
): BackupDisk[] {
  return texts.map((text, index) => {
    const { name: given, uri } = splitDiskArgument(text);
    const name = given ?? nameFromExport(exportNameOf(uri), index);
    return { name, uri, bitmap: bitmap?.replaceAll('{disk}', name) };
  });
}

function nameFromExport(exportName: string, index: number): string {
  return DISK_NAME.test(exportName) ? exportName : `disk${index}`;
}
