import type { Finding } from '../../front-end.js';
import type { Host } from '../../host/host.js';
import { newRunName } from '../../run-name.js';
import { mayWritePath } from './apparmor-rules.js';
import type { DomainView } from './domain-view.js';

const LOCAL_RULES = '/etc/apparmor.d/local/abstractions/libvirt-qemu';
const MAX_PROFILE_BYTES = 1 << 20;

/** Whether AppArmor lets this domain's QEMU bind below the socket folder. Scratch files libvirt allows itself. */
export async function* examineAppArmor(view: DomainView, base: string): AsyncGenerator<Finding> {
  const { host } = view.connection;
  const label = view.details.labels.get('apparmor');
  if (label === undefined) return;
  const socket = `${base}/${newRunName('00000000').text}/s`;
  yield judgeRules(await readProfile(host, view.domain.uuid), socket, base);
}

/** @param profile the text of all files that make up the domain's profile; `undefined`: they cannot be read. */
export function judgeRules(profile: string | undefined, socket: string, base: string): Finding {
  const id = 'apparmor';
  const fix = `add the line \`${base}/** rw,\` to ${LOCAL_RULES}, \`systemctl reload apparmor\`, and start the guest anew`;
  if (profile === undefined) {
    const text = `the guest is confined by AppArmor, and ${LOCAL_RULES} cannot be read`;
    return { id, status: 'warning', text, fix: 'run as root' };
  }
  switch (mayWritePath(profile, socket)) {
    case 'allowed':
      return { id, status: 'ok', text: `AppArmor lets QEMU bind in ${base}` };
    case 'denied':
      return { id, status: 'problem', text: `a rule of AppArmor denies QEMU to write in ${base}`, fix };
    case 'silent':
      return { id, status: 'problem', text: `no rule of AppArmor lets QEMU bind in ${base}`, fix };
  }
}

/** What libvirt's profile of a domain includes, and what administrators add to. */
async function readProfile(host: Host, uuid: string): Promise<string | undefined> {
  const folder = '/etc/apparmor.d';
  const further = `${folder}/abstractions/libvirt-qemu.d`;
  const files = [
    `${folder}/abstractions/libvirt-qemu`,
    LOCAL_RULES,
    `${folder}/libvirt/libvirt-${uuid}`,
    `${folder}/libvirt/libvirt-${uuid}.files`,
  ];
  const names = await host.listFolder(further);
  const texts: string[] = [];
  for (const file of [...files, ...names.map(name => `${further}/${name}`)]) {
    const bytes = await host.readFile(file, MAX_PROFILE_BYTES);
    if (bytes !== undefined) texts.push(Buffer.from(bytes).toString('utf8'));
  }
  return texts.length === 0 ? undefined : texts.join('\n');
}
