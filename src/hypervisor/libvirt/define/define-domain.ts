import { HypervisorError, UsageError } from '../../../errors.js';
import { Virsh } from '../virsh.js';

/** What libvirt takes for a domain's name, and a file can be called. */
const DOMAIN_NAME = /^[^/\p{Cc}]{1,200}$/u;

/**
 * Whether a domain can be defined under that name: libvirt answers, and has none that is called so.
 * @throws UsageError for what cannot be a name; HypervisorError TARGET_EXISTS when there is one already.
 */
export async function checkNameIsFree(connect: string | undefined, name: string): Promise<void> {
  if (!DOMAIN_NAME.test(name)) throw new UsageError(`${JSON.stringify(name)} cannot be a domain's name`);
  using virsh = new Virsh(connect);
  const names = (await virsh.run('list', { options: { all: true, name: true } })).split('\n');
  if (!names.some(line => line === name)) return;
  throw new HypervisorError('TARGET_EXISTS', `libvirt has a domain called ${name} already`, {
    hint: 'choose another name for --define',
    fields: { domain: name },
  });
}

/** Defines a domain; it is not started. @throws HypervisorError with libvirt's words. */
export async function defineDomain(connect: string | undefined, xml: string): Promise<void> {
  using virsh = new Virsh(connect);
  await virsh.run('define', { documents: { file: xml } });
}
