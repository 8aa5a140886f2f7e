import { attribute, childElements, descend, type Element } from './xml-document.js';

/**
 * What a disk's `<source>` refers to, as one line that stays the same from backup to backup. User names, secrets and
 * query strings are not in it: it goes into the point. `undefined` when nothing is inserted.
 */
export function describeDiskSource(source: Element | undefined): string | undefined {
  if (source === undefined) return undefined;
  const path = attribute(source, 'file') ?? attribute(source, 'dev') ?? attribute(source, 'dir');
  if (path !== undefined) return path === '' ? undefined : path;
  return volume(source) ?? network(source) ?? nvme(source);
}

function volume(source: Element): string | undefined {
  const [pool, name] = [attribute(source, 'pool'), attribute(source, 'volume')];
  return pool === undefined || name === undefined ? undefined : `volume:${pool}/${name}`;
}

function network(source: Element): string | undefined {
  const protocol = attribute(source, 'protocol');
  if (protocol === undefined) return undefined;
  const hosts = childElements(source, 'host').map(hostOf);
  return `${protocol}://${hosts.join(',')}/${attribute(source, 'name') ?? ''}`;
}

function hostOf(host: Element): string {
  const socket = attribute(host, 'socket');
  if (socket !== undefined) return `unix:${socket}`;
  const [name, port] = [attribute(host, 'name') ?? '', attribute(host, 'port')];
  const bracketed = name.includes(':') ? `[${name}]` : name;
  return port === undefined ? bracketed : `${bracketed}:${port}`;
}

function nvme(source: Element): string | undefined {
  if (attribute(source, 'type') !== 'pci') return undefined;
  const address = descend(source, 'address');
  const [domain, bus, slot, fn] = ['domain', 'bus', 'slot', 'function'].map(name =>
    (attribute(address, name) ?? '').replace(/^0x/, ''),
  );
  return `nvme:${domain}:${bus}:${slot}.${fn}/${attribute(source, 'namespace') ?? ''}`;
}
