import type { Finding } from '../../front-end.js';
import type { WalkedPath } from '../../host/path-access.js';
import type { DomainView } from './domain-view.js';

/** Types of folders in which confined guests (svirt_t) may make sockets. */
const WRITABLE_TYPES = ['qemu_var_run_t', 'svirt_image_t', 'svirt_tmp_t', 'virt_cache_t'];

/** Whether SELinux lets this domain's QEMU bind below the socket folder. libvirt labels the scratch files itself. */
export async function* examineSelinux(view: DomainView, walked: WalkedPath): AsyncGenerator<Finding> {
  const { host } = view.connection;
  if (!view.details.labels.has('selinux')) return;
  const { stdout } = await host.run('cat', ['/sys/fs/selinux/enforce']);
  if (stdout.toString('utf8').trim() !== '1') {
    yield { id: 'selinux', status: 'info', text: 'SELinux labels the guest, and does not enforce it' };
    return;
  }
  // A folder that is made takes its parent's type.
  const path = walked.entries.at(-1)?.path ?? '/';
  const label = await host.run('stat', ['-c', '%C', '--', path]);
  yield judgeLabel(label.stdout.toString('utf8').trim(), walked.path);
}

/** @param label of the folder, or of the nearest one above it that is there: `system_u:object_r:var_run_t:s0`. */
export function judgeLabel(label: string, folder: string): Finding {
  const id = 'selinux';
  const type = label.split(':')[2] ?? label;
  if (WRITABLE_TYPES.includes(type)) {
    return {
      id,
      status: 'ok',
      text: `SELinux: a new folder in ${folder} is ${type}, in which QEMU may bind`,
    };
  }
  return {
    ...{ id, status: 'warning' },
    text: `SELinux is enforcing, and a new folder in ${folder} would be ${type}: QEMU may be kept from binding there`,
    fix: `\`semanage fcontext -a -t qemu_var_run_t '${folder}(/.*)?'\`, \`mkdir -p ${folder}\`, \`restorecon -R ${folder}\``,
  };
}
