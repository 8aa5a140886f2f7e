import { UsageError } from '../../errors.js';
import type { ImageInfo } from './image-info.js';

/**
 * Which format an image has. A guest writes what it likes into a raw disk, also the header of another format that names
 * a file of the host as its backing file: QEMU, told to guess, would then read that file as the disk, and a restore
 * would hand it to the guest. So a name that ends in a format's extension says the format; with any other name the
 * content decides only where a guest could do no more with it than spoil its own backup.
 */
const EXTENSIONS: Readonly<Record<string, string>> = {
  raw: 'raw',
  qcow2: 'qcow2',
  luks: 'luks',
  qed: 'qed',
  vdi: 'vdi',
  vhd: 'vpc',
  vhdx: 'vhdx',
  vmdk: 'vmdk',
};

/** The format that a file's name says; `undefined` when it says none. */
export function formatOfName(path: string): string | undefined {
  const extension = /\.([A-Za-z0-9]+)$/.exec(path)?.[1]?.toLowerCase() ?? '';
  return Object.hasOwn(EXTENSIONS, extension) ? EXTENSIONS[extension] : undefined;
}

/** @throws UsageError when a guest could have made the content look like this, to have another file read. */
export function checkGuessedFormat(path: string, { format, backing, dataFile }: ImageInfo): void {
  const other = backing ?? dataFile;
  if (['raw', 'luks', 'qcow2'].includes(format) && other === undefined) return;
  const refers = other === undefined ? '' : ` that refers to ${other}`;
  throw new UsageError(`${path} looks like ${format}${refers}, but nothing says that it is`, {
    hint: `a guest could have written that into a raw disk: say --image-format ${format}, or raw`,
  });
}
