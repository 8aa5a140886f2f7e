import { attribute, childElements, descend, type Element, parseXml, textOf } from '../xml-document.js';

/** What only a doctor wants to know of a domain's description. */
export interface DomainDetails {
  /** Labels of its QEMU by security model: `apparmor`, `selinux`, `dac`. A domain that is off has none yet. */
  readonly labels: ReadonlyMap<string, string>;
  /** The guest agent's channel; `unknown`: libvirt does not say whether anybody listens. */
  readonly agent: 'connected' | 'disconnected' | 'unknown' | 'none';
  readonly disks: ReadonlyMap<string, DiskDetails>;
}

export interface DiskDetails {
  /** What QEMU does when a write of the guest fails; `undefined`: pauses it when space ran out. */
  readonly errorPolicy: string | undefined;
  /** Images below the one that is written to. */
  readonly backingImages: number;
}

const AGENT_CHANNEL = 'org.qemu.guest_agent.0';

/** Reads `virsh dumpxml`. */
export function parseDomainDetails(xml: string): DomainDetails {
  const root = parseXml(xml, 'domain', "the domain's description");
  const devices = descend(root, 'devices');
  return {
    labels: new Map(childElements(root, 'seclabel').flatMap(readLabel)),
    agent: readAgent(devices),
    disks: new Map(childElements(devices, 'disk').map(readDisk)),
  };
}

function readLabel(seclabel: Element): readonly (readonly [string, string])[] {
  const [model, label] = [attribute(seclabel, 'model'), textOf(descend(seclabel, 'label'))];
  return model === undefined || label === undefined ? [] : [[model, label]];
}

function readAgent(devices: Element | undefined): DomainDetails['agent'] {
  const targets = childElements(devices, 'channel').map(channel => descend(channel, 'target'));
  const agent = targets.find(target => attribute(target, 'name') === AGENT_CHANNEL);
  if (agent === undefined) return 'none';
  const state = attribute(agent, 'state');
  return state === 'connected' || state === 'disconnected' ? state : 'unknown';
}

function readDisk(disk: Element): readonly [string, DiskDetails] {
  const policy = attribute(descend(disk, 'driver'), 'error_policy');
  const details = { errorPolicy: policy, backingImages: countBacking(disk) };
  return [attribute(descend(disk, 'target'), 'dev') ?? '', details];
}

/** `<backingStore>` elements are nested; an empty one ends the chain. */
function countBacking(element: Element): number {
  const backing = descend(element, 'backingStore');
  return backing === undefined || descend(backing, 'source') === undefined ? 0 : 1 + countBacking(backing);
}
