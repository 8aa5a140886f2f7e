import type { Host, HostUser } from '../../host/host.js';
import type { Accessor } from '../../host/path-access.js';

/** As whom a domain's QEMU runs, for the permissions of folders. */
export interface QemuAccessor extends Accessor {
  /** Its account, or its number. */
  readonly name: string;
}

/** A user of the host with the groups that libvirt gives its QEMU: the label's, and those of the account. */
export async function qemuAccessor(host: Host, { uid, gid }: HostUser): Promise<QemuAccessor> {
  // A number without an account has no further groups.
  const groups = await said(host, ['-G', '--', String(uid)]);
  const name = (await said(host, ['-un', '--', String(uid)])) ?? String(uid);
  return { name, uid, gids: [...new Set([gid, ...(groups?.split(' ').map(Number) ?? [])])] };
}

async function said(host: Host, args: readonly string[]): Promise<string | undefined> {
  const { code, stdout } = await host.run('id', args);
  return code === 0 ? stdout.toString('utf8').trim() : undefined;
}
