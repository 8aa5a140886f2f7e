import { existsSync, readdirSync } from 'node:fs';
import { mkdir, symlink } from 'node:fs/promises';
import { join } from 'node:path';

/** All that a guest with disks takes; the others want a system bus, a firewall, udev, dnsmasq. */
const NEEDED = ['libvirt_driver_qemu.so', 'libvirt_driver_secret.so'];

/**
 * The environment in which libvirtd loads only the drivers that the tests need: it ends when any of those that it
 * finds can't start, and what each of the others needs of the machine is nothing that a test should hang on.
 * @param folder is made, and holds links to the drivers. Where libvirt has no loadable drivers it stays empty, and
 * libvirtd is left as it is.
 */
export async function onlyNeededDrivers(folder: string): Promise<Record<string, string>> {
  const installed = installedDrivers();
  await mkdir(folder, { recursive: true });
  if (installed === undefined) return {};
  for (const name of NEEDED) await symlink(join(installed, name), join(folder, name));
  return { LIBVIRT_DRIVER_DIR: folder };
}

/** Debian has a folder for each architecture in /usr/lib, others /usr/lib64. */
function installedDrivers(): string | undefined {
  const roots = ['/usr/lib64', '/usr/lib', ...readdirSync('/usr/lib').map(name => join('/usr/lib', name))];
  return roots
    .map(root => join(root, 'libvirt/connection-driver'))
    .find(folder => NEEDED.every(name => existsSync(join(folder, name))));
}
