import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { mkdir, readdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { findKernelPackage, unpackPackage } from '../support/libvirt/debian-package.js';
import { cached } from '../support/libvirt/guest-cache.js';
import { runOk } from '../support/processes.js';

/** supermin wants to know its owner, even when the modules are somewhere else. */
const MODULES = '/lib/modules';

function hasOwnKernel(): boolean {
  return existsSync('/boot') && readdirSync('/boot').some(name => name.startsWith('vmlinuz'));
}

/** Why libguestfs cannot be had here, in words; undefined when it can. */
export function whyNoGuestfsKernel(): string | undefined {
  if (hasOwnKernel()) return undefined;
  if (!existsSync(MODULES) && process.getuid?.() !== 0)
    return `libguestfs needs a kernel, or ${MODULES} and root`;
  const { error, status } = spawnSync('apt-get', ['--version']);
  return error || status !== 0 ? 'no kernel in /boot, and no apt-get to download one' : undefined;
}

/** Environment with which libguestfs starts here. */
export interface GuestfsKernel extends AsyncDisposable {
  readonly env: Readonly<Record<string, string>>;
}

/**
 * A kernel for libguestfs's appliance: the machine's own, or Debian's for virtual machines, unpacked into the tests'
 * cache and not installed. The appliance is kept there, too.
 */
export async function guestfsKernel(): Promise<GuestfsKernel> {
  const appliance = await cached('guestfs-1', async () => undefined);
  const env = { LIBGUESTFS_CACHEDIR: appliance, LIBGUESTFS_BACKEND_SETTINGS: 'force_tcg' };
  if (hasOwnKernel()) return { env, [Symbol.asyncDispose]: async () => undefined };
  const made = await mkdir(MODULES, { recursive: true });
  const unpacked = await cached('kernel-package-1', unpackKernel);
  const [version] = await readdir(join(unpacked, MODULES));
  if (version === undefined) throw new Error('the package has no modules');
  const kernel = {
    SUPERMIN_KERNEL: join(unpacked, `boot/vmlinuz-${version}`),
    SUPERMIN_MODULES: join(unpacked, MODULES, version),
  };
  return {
    env: { ...env, ...kernel },
    [Symbol.asyncDispose]: async () => {
      if (made !== undefined) await rmdir(MODULES);
    },
  };
}

async function unpackKernel(folder: string): Promise<void> {
  await unpackPackage(await findKernelPackage('linux-image-cloud-amd64'), folder);
  for (const version of await readdir(join(folder, MODULES))) await runOk('depmod', ['-b', folder, version]);
}
