import type { HostUser } from '../host/host.js';
import type { Domain } from './domain-xml.js';
import type { LibvirtConnection } from './libvirt-connection.js';
import { attribute, childElements, descend, parseXml, textOf } from './xml-document.js';

/** As whom a domain's QEMU runs; `undefined`: as we do, in an unprivileged libvirt. */
export async function qemuUser(connection: LibvirtConnection, domain: Domain): Promise<HostUser | undefined> {
  const label = domain.dacLabel ?? parseBaseLabel(await connection.virsh.run('capabilities'));
  return label === undefined ? undefined : await resolveLabel(connection, label);
}

/** The DAC label that libvirt gives to its guests, from `virsh capabilities`. */
export function parseBaseLabel(xml: string): string | undefined {
  const root = parseXml(xml, 'capabilities', "libvirt's capabilities");
  const models = childElements(descend(root, 'host'), 'secmodel');
  const dac = models.find(model => textOf(descend(model, 'model')) === 'dac');
  const labels = childElements(dac, 'baselabel');
  return textOf(labels.find(label => attribute(label, 'type') === 'kvm') ?? labels[0]);
}

/** Numbers of a DAC label that has them: `+64055:+108`. */
export function parseLabel(label: string): HostUser | undefined {
  const [, uid, gid] = /^\+?(\d+):\+?(\d+)$/.exec(label) ?? [];
  return uid === undefined ? undefined : { uid: Number(uid), gid: Number(gid) };
}

async function resolveLabel({ host }: LibvirtConnection, label: string): Promise<HostUser | undefined> {
  const numbers = parseLabel(label);
  if (numbers !== undefined) return numbers;
  const user = label.split(':')[0]!;
  const ask = async (what: '-u' | '-g') =>
    Number((await host.run('id', [what, '--', user])).stdout.toString());
  const [uid, gid] = [await ask('-u'), await ask('-g')];
  return uid > 0 && gid > 0 ? { uid, gid } : undefined;
}
