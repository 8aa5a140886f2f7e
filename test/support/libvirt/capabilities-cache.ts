import { createHash } from 'node:crypto';
import { cp, mkdir, stat } from 'node:fs/promises';
import { release } from 'node:os';
import { findProgram } from '../programs.js';
import type { TempFolder } from '../temp-folder.js';
import { cached } from './guest-cache.js';

/** What libvirt looks at to see whether it must ask again. */
const PROGRAMS = ['libvirtd', 'qemu-system-x86_64', 'qemu-system-i386'];

/**
 * Gives a new libvirtd what an earlier one learnt about QEMU: asking takes it 8 s, each time. libvirt itself checks
 * whether that is still true, and asks again where it is not.
 * @param learn copies the capabilities of a libvirtd that asked into a folder.
 */
export async function lendCapabilities(
  folder: TempFolder,
  learn: (into: string) => Promise<void>,
): Promise<void> {
  const known = await cached(`capabilities-${await versions()}`, learn);
  await mkdir(folder.file('cache/qemu'), { recursive: true });
  await cp(known, folder.file('cache/qemu/capabilities'), { recursive: true });
}

async function versions(): Promise<string> {
  const digest = createHash('sha256').update(release());
  for (const program of PROGRAMS) {
    const path = findProgram(program);
    if (path !== undefined) digest.update(`${path} ${(await stat(path)).mtimeMs}\n`);
  }
  return digest.digest('hex').slice(0, 16);
}
