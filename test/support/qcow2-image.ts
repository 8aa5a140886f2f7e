import { readFile } from 'node:fs/promises';
import { runOk } from './processes.js';
import { tempFolder } from './temp-folder.js';

/** Makes an empty qcow2 image of `size` bytes. */
export async function createQcow2(path: string, size: number): Promise<void> {
  await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', path, String(size)]);
}

/** Runs qemu-io commands (`write -P 0x11 0 4M`) on an image that nobody has open. */
export async function qemuIoOnImage(
  path: string,
  commands: readonly string[],
  format: 'qcow2' | 'raw' = 'qcow2',
): Promise<void> {
  const output = await runOk('qemu-io', [
    '-f',
    format,
    ...commands.flatMap(command => ['-c', command]),
    path,
  ]);
  if (/failed|error/i.test(output)) throw new Error(`qemu-io ${path}: ${output}`);
}

/** Adds a persistent bitmap that records from now on. Granularity in bytes, 64 KiB by default. */
export async function addBitmap(path: string, name: string, granularity = 65_536): Promise<void> {
  await runOk('qemu-img', ['bitmap', '--add', '-g', String(granularity), path, name]);
}

/** Names of the persistent bitmaps of an image. */
export async function listBitmaps(path: string): Promise<readonly string[]> {
  const info: unknown = JSON.parse(await runOk('qemu-img', ['info', '--output=json', path]));
  const details = info as { 'format-specific'?: { data?: { bitmaps?: readonly { name: string }[] } } };
  return (details['format-specific']?.data?.bitmaps ?? []).map(bitmap => bitmap.name);
}

/** What a guest would read from the image: all its bytes. For images of some MiB. */
export async function readImage(path: string): Promise<Buffer> {
  await using folder = await tempFolder();
  const raw = folder.file('disk.raw');
  await runOk('qemu-img', ['convert', '-O', 'raw', path, raw]);
  return readFile(raw);
}
