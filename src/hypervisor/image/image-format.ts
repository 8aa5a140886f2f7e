import { HypervisorError } from '../../errors.js';
import type { ImageInfo } from './image-info.js';

/**
 * Which format an image has. A guest writes what it likes into a raw disk, also the header of another format that names
 * a file of the host as its backing file: QEMU, told to guess, would then read that file as the disk, and a restore would
 * hand it to the guest. So:
 *
 * - A name that ends in a format's extension (`.raw`, `.qcow2` …) says the format, and QEMU is never asked to guess.
 * - With any other name the content decides between raw, LUKS and a qcow2 that refers to no other file, which a guest
 *   could only use to spoil its own backup. All else is refused until a name (a symbolic link does) says what it is.
 *
 * Whatever was decided is said to every program that opens the image afterwards.
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

/** @throws HypervisorError when a guest could have made the content look like this. */
export function checkGuessedFormat(path: string, { format, backing, dataFile }: ImageInfo): void {
  const other = backing ?? dataFile;
  if (format === 'raw' || format === 'luks' || (format === 'qcow2' && other === undefined)) return;
  const refers = other === undefined ? '' : ` that refers to ${JSON.stringify(other)}`;
  const text = `image ${path} looks like ${format}${refers}, but its name does not say so`;
  const extension = Object.keys(EXTENSIONS).find(key => EXTENSIONS[key] === format) ?? format;
  throw new HypervisorError('HYPERVISOR_DENIED', text, {
    hint: `a guest could have written that into a raw disk: give it as a name, or a symbolic link, that ends in .${extension} or .raw`,
  });
}
